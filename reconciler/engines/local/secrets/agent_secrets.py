"""What in a `.env` is for the agent alone: every key in capitals that the manager does not know itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from reconciler.core.env_keys import ENV_KEYS, is_reserved, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_NEAR: Final = 0.8
"""How much a key is like one of ours to be taken for it, misspelt. `OPENCODE_API_KEY`, which is one, has 0.71."""


@dataclass(frozen=True)
class AgentSecret:
    """A variable that only the agent gets."""

    value: str = field(repr=False)
    file: Path
    """That it is from."""


def found(path: Path, values: Mapping[str, str]) -> dict[str, AgentSecret]:
    """Return what the agent gets of a file, by name."""
    return {key: AgentSecret(value, path) for key, value in values.items() if is_secret_name(key) and not _near(key)}


def reserved(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each key that the agent must not be given, and why."""
    for key in values:
        if is_reserved(key) and key not in ENV_KEYS:
            near = get_close_matches(key, ENV_KEYS, n=1)
            yield key, f"is reserved: the manager sets it; {f'did you mean {near[0]}?' if near else 'remove it'}"
        elif "\0" in values[key]:
            yield key, "has a NUL character, which no variable can have; remove it"


def unusable(key: str) -> str:
    """Return why a key cannot name a secret of an agent; empty where it can."""
    if near := _near(key):
        return f"is too much like {near}, which is the manager's own; choose another name"
    if key in ENV_KEYS:
        return "is the manager's own, of one project; write it into the .env of its sandbox"
    if is_reserved(key):
        return "is reserved: the manager sets it"
    return "" if is_secret_name(key) else "is no name of a secret: use capitals, digits and _"


def _near(key: str) -> str:
    """The key of ours that is meant by a misspelt one: it may hold what the agent must not get."""
    near = get_close_matches(key, ENV_KEYS, n=1, cutoff=_NEAR) if key not in ENV_KEYS else []
    return near[0] if near else ""


def unknown(path: Path, values: Mapping[str, str], lines: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each key that is used for nothing."""
    for key in values:
        if key in ENV_KEYS or is_reserved(key):
            continue
        near = _near(key)
        if near:
            yield f"{path}:{lines[key]}: {key} is not known and not used; did you mean {near}?"
        elif not is_secret_name(key):
            # It is not shown: it can be a secret that was pasted onto a line of its own.
            yield f"{path}:{lines[key]}: it is no known key, and only keys in capitals are passed to the agent"
