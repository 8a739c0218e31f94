"""Read and write the published index of status, `opencode-state.json`.

The controller writes it and every frontend reads it. It is derived: deleting it loses nothing, and nothing decides by
it; only a broken ledger is recovered from it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from reconciler.core import plain_text
from reconciler.settings import UserError
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.settings import Home

SCHEMA: Final = 1
"""Of the file. A reader refuses a newer one."""


@dataclass(frozen=True, kw_only=True)
class ControllerInfo:
    """The controller that wrote the index."""

    pid: int
    specs: str
    """Its specs folder: every frontend writes there."""
    http_port: int
    """Of its MCP endpoint on 127.0.0.1; 0: none."""
    started: float
    development: bool = False
    version: str = ""
    warnings: tuple[str, ...] = ()
    """What is wrong with the controller itself or with the specs folder as a whole."""
    notes: tuple[str, ...] = ()
    """What lies in the specs folder and is not used, a sentence each."""
    ports: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By service: the range in force, first and last port."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """The published index as it was read."""

    projects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    controller: ControllerInfo | None = None
    """None when nothing was published yet."""
    running: bool = False
    """Whether a controller holds its lock now; False: the statuses are as old as `written` says."""
    written: float = 0.0

    @property
    def age(self) -> float:
        """Return the seconds since it was written, by the wall clock."""
        return max(0.0, time.time() - self.written)


class Writer:
    """Publish statuses. A recomputed status is a new object: only those are encoded again."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._encoded: dict[str, tuple[Mapping[str, Any], str]] = {}

    def write(self, controller: ControllerInfo, projects: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the index, one line per project. Not durable on purpose: it can always be computed again."""
        self._encoded = {name: self._encode(name, projects[name]) for name in sorted(projects)}
        lines = ",\n".join(text for _, text in self._encoded.values())
        about = json.dumps(plain_text.document(asdict(controller)))
        head = f'"schema": {SCHEMA},\n"written": {time.time()},\n"controller": {about}'
        document = f'{{\n{head},\n"projects": {{\n{lines}\n}}\n}}\n'
        files.replace_file(self._home.state_file, document.encode(), durable=False)

    def _encode(self, name: str, status: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        before = self._encoded.get(name)
        if before is not None and before[0] is status:
            return before
        return status, f"{json.dumps(name)}: {json.dumps(status)}"


def read(home: Home) -> Index:
    """Return the index as last published; an empty one when there is none or it is broken.

    Raises:
        UserError: it was written by a newer version.
    """
    running = files.lock_held(home.controller / "lock")
    try:
        index = _parse(home.state_file.read_bytes())
    except OSError:
        index = Index()
    if index is None:
        raise UserError(f"cannot read {home.state_file}: it was written by a newer version; upgrade this one")
    return replace(index, running=running)


@lru_cache(maxsize=1)
def _parse(text: bytes) -> Index | None:
    """Return what the file says, an empty index where it says nothing; None when it is of a newer version.

    Cached, because a client that polls mostly finds what was published before: 1 ms for 50 projects.
    """
    try:
        data = json.loads(text)
        if not isinstance(data["schema"], int) or data["schema"] > SCHEMA:
            return None
        known = {key: value for key, value in data["controller"].items() if key in ControllerInfo.__dataclass_fields__}
        projects, controller, written = dict(data["projects"]), ControllerInfo(**known), float(data["written"])
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return Index()
    return Index(projects=projects, controller=controller, written=written)
