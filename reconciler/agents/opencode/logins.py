"""The user's logins to model providers, and the copy of them that each agent has.

OpenCode keeps them in one file, which it reads, changes and writes back whole, in place and without a lock; one
that reads it meanwhile may find no login at all (measured: two servers that write to one file at once lose 62 of 400
writes). So each agent has a copy of its own, and the user's file has one writer beside the user: this
module, in the one controller. What an agent renews goes to the user's file, and from there to the other agents.

Two changes of one login are distinguished by what was seen before: a value that was ever in a copy is no news. Of two
that are news, or of one that was written back from an older copy, the one that is valid longer counts, else the
user's. An agent takes no login away from anybody: only what vanishes from the user's file is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.base import Handed
from reconciler.system import files
from reconciler.system.held_folder import held

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.base import Place
    from reconciler.system.held_folder import HeldFolder

Logins = dict[str, dict[str, Any]]

NAMES: Final = ("auth.json", "mcp-auth.json")
"""Of model providers, and of MCP servers."""
ATTEMPTS: Final = 5
"""To write what did not change while it was worked on: the time between the two is a thousandth of a second."""
SEEN: Final = 50
"""Values of one login that are remembered, as digests: one that is renewed each hour writes back no older one."""
_BYTES: Final = 2**20
_KEPT: Final = ".previous"
_lock: Final = threading.Lock()


@dataclass(frozen=True)
class Memory:
    """What was seen in an agent's copy, as digests."""

    base: dict[str, str] = field(default_factory=dict)
    """What it was brought to last, by login."""
    seen: dict[str, list[str]] = field(default_factory=dict)

    def knows(self, name: str, value: object) -> bool:
        """Tell whether a value is no news."""
        return digest(value) in self.seen.get(name, ())


def digest(value: object) -> str:
    """Name a value without showing it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def merged(users: Logins, copies: tuple[Logins, ...], memory: Memory) -> Logins:
    """Return the logins as they are to be everywhere. Pure.

    Args:
        users: of the user's file.
        copies: of the agent: its file, and the one before, to which it may still have written.
        memory: of the agent.
    """
    found = dict(users)
    for copy in copies:
        for name, value in copy.items():
            if name in found:
                found[name] = _of_two(found[name], value, name, memory)
            elif name not in memory.base and not memory.knows(name, value):
                found[name] = value  # it was made at the agent; else the user has logged out
    return found


def _of_two(theirs: dict[str, Any], value: dict[str, Any], name: str, memory: Memory) -> dict[str, Any]:
    changed, news = not memory.knows(name, theirs), not memory.knows(name, value)
    until = _expires(theirs), _expires(value)
    if until[0] is not None and until[1] is not None and (news or not changed):
        return value if until[1] > until[0] else theirs
    return value if news and not changed else theirs


def _expires(value: dict[str, Any]) -> float | None:
    tokens = value.get("tokens")
    found = tokens.get("expiresAt") if isinstance(tokens, dict) else value.get("expires")
    return found if isinstance(found, int | float) else None


def remembered(memory: Memory, result: Logins, copies: tuple[Logins, ...]) -> Memory:
    """Return the memory after an agent's copy was brought to a result."""
    seen = {name: list(values) for name, values in memory.seen.items()}
    for logins in (*copies, result):
        for name, value in logins.items():
            known = [one for one in seen.get(name, ()) if one != digest(value)]
            seen[name] = [*known, digest(value)][-SEEN:]
    return Memory({name: digest(value) for name, value in result.items()}, seen)


def inputs(place: Place) -> str:
    """Return a digest of the logins of which an agent takes up a change only when it is started.

    Not of tokens: those it reads before each use.
    """
    found = _read(_users(place, NAMES[0])) or {}
    lasting = {
        name: {key: value for key, value in login.items() if key not in {"access", "refresh", "expires"}}
        for name, login in found.items()
    }
    return digest(lasting) if lasting else ""


def names(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the model providers that a user is logged in to, by name; none where the file cannot be read."""
    return tuple(sorted(_read(_file(environment, NAMES[0])) or {}))


def stamps(place: Place) -> tuple[Path, ...]:
    """Return the files whose change calls for an exchange."""
    folder = place.xdg / "data" / "opencode"
    return tuple(path for name in NAMES for path in (_users(place, name), folder / name))


def handed(place: Place) -> tuple[Handed, ...]:
    """Return the files of logins that the user has."""
    folder = place.xdg / "data" / "opencode"
    found = ((_users(place, name), folder / name) for name in NAMES)
    return tuple(
        Handed(source=source, place=target, how="copy, kept the same") for source, target in found if source.is_file()
    )


def exchange(place: Place) -> None:
    """Bring the user's logins and the agent's copy together. Blocking.

    Raises:
        OSError: one of the files cannot be written.
    """
    with _lock, held(place.xdg, "data", "opencode") as folder:
        for name in NAMES:
            for _ in range(ATTEMPTS):
                if _exchanged(_users(place, name), folder, name):
                    break


def _exchanged(users: Path, folder: HeldFolder, name: str) -> bool:
    """One attempt; False where a file changed meanwhile."""
    theirs, own = _read(users), _parsed(folder.read(name, _BYTES))
    if theirs is None or own is None:
        return True  # somebody is writing it at this moment, or it is no JSON: another time
    copies = (own, _parsed(folder.read(name + _KEPT, _BYTES)) or {})
    memory = _memory(folder, name)
    result = merged(theirs, copies, memory)
    if result != theirs:
        if _read(users) != theirs:
            return False
        target = Path(users.resolve())
        files.private_folder(target.parent)
        files.replace_file(target, _text(result))
    if result != own:
        folder.replace(name, _text(result), keep=name + _KEPT)
    after = remembered(memory, result, copies)
    if after != memory:
        folder.replace(f".{name}.memory", json.dumps([after.base, after.seen]).encode())
    return result == own or _parsed(folder.read(name + _KEPT, _BYTES)) in (own, {})


def _memory(folder: HeldFolder, name: str) -> Memory:
    with contextlib.suppress(ValueError, TypeError):
        base, seen = json.loads(folder.read(f".{name}.memory", _BYTES) or b"")
        if isinstance(base, dict) and isinstance(seen, dict) and all(isinstance(one, list) for one in seen.values()):
            return Memory(base, seen)
    return Memory()


def _users(place: Place, name: str) -> Path:
    return _file(place.environment, name)


def _file(environment: Mapping[str, str], name: str) -> Path:
    """Return where the user's own OpenCode keeps them."""
    data = environment.get("XDG_DATA_HOME") or Path(environment.get("HOME", "/")) / ".local" / "share"
    return Path(data) / "opencode" / name


def _read(path: Path) -> Logins | None:
    try:
        with path.open("rb") as file:
            return _parsed(file.read(_BYTES))
    except FileNotFoundError:
        return {}
    except OSError:
        return None


def _parsed(data: bytes | None) -> Logins | None:
    """Return the logins in a file; None where it is no JSON, or not the whole of it."""
    if data is None:
        return {}
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    known = found if isinstance(found, dict) else {}
    return {name: value for name, value in known.items() if isinstance(value, dict)}


def _text(logins: Logins) -> bytes:
    return json.dumps(logins, indent=2).encode()
