"""What an OpenCode that starts does about plugins, and which of them it could not load.

Before OpenCode answers anything about a project that has plugins, it installs their dependencies with npm, and waits
as long as npm does: for ever, where a registry takes connections and never answers (measured). A plugin that is
missing or throws is named in its events while the project is loaded, and nowhere else; only one whose function throws
is in its log too. All of it is the agent's text: only fixed phrases and bounded, plain ones are passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from reconciler.agents.base import Request
from reconciler.agents.opencode.kind import OPENCODE
from reconciler.core.plain_text import plain
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from reconciler.agents.base import Place, Wire

EVENTS: Final = Request(path="/global/event")
"""What happens in it, of all projects, without loading any."""
SETTLED: Final = 0.3
"""Seconds for which events are awaited after it is ready: those of its plugins come within 0.01 (measured)."""
WRITTEN: Final = 5.0
"""Seconds at most until its log says that the project is loaded: it is written a little later (measured)."""
NAMED: Final = 5
"""Plugins that are named."""

_TAIL: Final = 20_000
"""Bytes of a file that are read."""
_LONGEST: Final = 2**20
"""Bytes of events that are kept."""
_CONFIGS: Final = ("opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc")
_FOLDERS: Final = ("plugin", "plugins")
_FAILED: Final = re.compile(r"(?:Failed to (?:load|install) plugin|Plugin) .+", re.DOTALL)
_OFFLINE: Final = '`agent.env: {npm_config_offline: "true"}` in the spec starts it without an install'


def used_by(place: Place) -> bool:
    """Tell whether the project or the copy of the user's configuration has plugins: then a start waits for npm."""
    repo, config = place.repo, place.xdg / "config"
    folders = (repo / ".opencode", place.home / ".opencode", config / "opencode", config / "opencode-folder")
    if any(file.suffix in {".js", ".ts"} for at in folders for name in _FOLDERS for file in _listed(at / name)):
        return True
    policy = place.environment.get(OPENCODE.config_variable, "")
    configs = [*(repo / name for name in _CONFIGS), *(at / name for at in folders[1:] for name in _CONFIGS[:2])]
    return any('"plugin"' in text for text in (policy, *map(_head, (*configs, *_listed(config / "opencode-file")))))


def doing(place: Place, begin: int) -> str:
    """Say in two words what an agent that does not answer yet is doing; empty where its log does not show it.

    Args:
        place: of the agent.
        begin: the size of its log when it was started.
    """
    loading = _loads(_said(log(place), begin)) is False
    return "installing plugins (npm)" if loading and used_by(place) else ""


def _loads(said: str) -> bool | None:
    """Tell whether the project that it began to load last is loaded; None before. Its own phrases (measured)."""
    begun = said.rpartition(" message=bootstrapping ")
    return " message=init\n" in begun[2] if begun[1] else None


def stuck(place: Place, begin: int) -> str:
    """Say why an install did not come to its end, and the way out; empty where none was going on."""
    if not doing(place, begin):
        return ""
    return f"its plugins wait for npm, and {_registry(place)} does not answer; {_OFFLINE}"


def log(place: Place) -> Path:
    """Return the path of OpenCode's own log."""
    return place.xdg / OPENCODE.log


def _registry(place: Place) -> str:
    named = {key.lower(): value for key, value in place.variables.items()}.get("npm_config_registry", "")
    with contextlib.suppress(ValueError):
        url = urlsplit(named)
        if url.hostname:
            return f"the registry {plain(f'{url.scheme}://{url.hostname}' + (f':{url.port}' if url.port else ''), 200)}"
    return "the npm registry"


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _head(path: Path) -> str:
    try:
        with files.open_regular(path) as file:
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""


def _said(path: Path, begin: int) -> str:
    """Return the end of what was written to the log since `begin`."""
    try:
        with files.open_regular(path) as file:
            file.seek(max(begin, file.seek(0, 2) - _TAIL))
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""


@contextlib.asynccontextmanager
async def failures(
    place: Place, wire: Wire, limit: float, begin: int
) -> AsyncIterator[Callable[[], Awaitable[tuple[str, ...]]]]:
    """Hear events while it is proved ready; what is yielded returns the plugins that could not be loaded."""
    async with wire.stream(EVENTS, limit) as events:

        async def found() -> tuple[str, ...]:
            named = tuple(dict.fromkeys(_failures(await events.read(SETTLED, _LONGEST))))[:NAMED]
            return (*named, *await thrown(place, begin))

        yield found


def _failures(text: str) -> list[str]:
    """Parse lines `data: {"payload": {"type", "properties": {"error": {"data": {"message"}}}}}`."""
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            payload: Mapping[str, Any] = json.loads(line.removeprefix("data:"))["payload"]
            message = str(payload["properties"]["error"]["data"]["message"])
            if payload["type"] == "session.error" and _FAILED.match(message):
                found.append(plain(message))
    return found


async def thrown(place: Place, begin: int) -> tuple[str, ...]:
    """Return the plugins whose function threw in the newest run, read from its log: no event reports them.

    Args:
        place: of the agent.
        begin: the size of its log when it was started.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WRITTEN):
            while not _loads(_said(log(place), begin)):  # noqa: ASYNC110  nobody says when it is written
                await asyncio.sleep(0.05)
    said = _said(log(place), begin).splitlines()
    run = re.search(r" (run=\w+) ", said[-1]) if said else None
    lines = [line for line in said if run and run[0] in line and 'message="failed to load plugin"' in line]
    found = [re.search(r' path=(\S+) error=(?:"((?:[^"\\]|\\.)*)"|(\S+))', line) for line in lines]
    return tuple(plain(f"Failed to load plugin {one[1]}: {one[2] or one[3]}") for one in found if one)[:NAMED]
