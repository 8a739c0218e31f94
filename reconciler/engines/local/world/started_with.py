"""What of the user's an agent was started with, and whether that has changed since: it reads some of it only then."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from reconciler.agents.base import UserInputs
from reconciler.core.plain_text import plain
from reconciler.system import files

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.agents.base import Driver, Place

FRESH: Final = 5.0
"""Seconds for which what was seen of the user's files serves all projects."""
_BYTES: Final = 50_000


class Current:
    """The user's files as they are now, looked at once for all projects."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], tuple[Driver, Place, float, UserInputs]] = {}

    def of(self, driver: Driver, place: Place) -> UserInputs:
        """Return digests of what an agent would be started with; at most `FRESH` seconds old."""
        key, now = (driver.kind, place.user_config), time.monotonic()
        known = self._known.get(key)
        if known is None or now - known[2] > FRESH:
            known = self._known[key] = (driver, place, now, driver.user_inputs(place))
        return known[3]

    def changed(self) -> bool:
        """Look again at once; tell whether anything is not as it was."""
        before, fresh = self._known, Current()
        self._known = {key: (one[0], one[1], time.monotonic(), fresh.of(one[0], one[1])) for key, one in before.items()}
        return any(before[key][3] != one[3] for key, one in self._known.items())

    def stamp(self) -> object:
        """Return a value that changes with any of them."""
        return tuple(self.of(driver, place) for driver, place, _, _ in list(self._known.values()))


@dataclass(frozen=True, kw_only=True)
class LaunchNote:
    """What is kept of a start."""

    run_id: str
    inputs: UserInputs
    warnings: tuple[str, ...] = ()
    """About what the agent was not given."""
    summary: str = ""
    """How much it was given, for people."""


class StartedWith:
    """The note of the agent's newest run, in the folder of its records."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "agent.world"

    def write(self, note: LaunchNote) -> None:
        """Replace what is noted. Best effort."""
        with contextlib.suppress(OSError):
            files.replace_file(self._path, json.dumps(asdict(note)).encode(), durable=False)

    def read(self, run_id: str) -> LaunchNote | None:
        """Return what was noted of this run; None: nothing, as of one that an older manager started."""
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_BYTES))
            inputs = UserInputs(logins=str(found["inputs"]["logins"]), config=str(found["inputs"]["config"]))
            note = LaunchNote(
                run_id=found["run_id"],
                inputs=inputs,
                warnings=tuple(map(plain, found["warnings"])),
                summary=plain(str(found.get("summary", ""))),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return note if note.run_id == run_id else None


def outdated_config(note: LaunchNote, now: UserInputs, name: str) -> tuple[str, ...]:
    """Return a sentence where the user's configuration has changed since the start."""
    if note.inputs.config == now.config:
        return ()
    return (f"your own configuration of the agent has changed; it is used after: opencode-manager restart {name}",)
