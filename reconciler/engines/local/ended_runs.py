"""Remember how the agent's last runs ended, for the runs after them: its records tell of the last one alone."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.observed import EndedRun, Exit
from reconciler.system import files

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.engines.local.facts import LocalService

KEPT: Final = 16
"""Runs: what a restart interrupted is still known after starts that failed."""
SLACK: Final = 0.25
"""Seconds before a keeper knew of a stop that the agent may have: a machine that shuts down asks all at once."""
TAKEN_UP: Final = 60.0
"""Seconds within which a stop whose controller was killed is taken up by the next one; later it is another stop."""
_BYTES: Final = 20_000
_LATEST: Final = 1e11
"""Seconds since the epoch: any real time is far below."""


class EndedRuns:
    """The runs of a project's agent that have ended, in the folder of their records."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "agent.ended"

    def stopping(self, run_id: str, wall: float) -> None:
        """Note that our stop of a run begins now, before anything is asked of it. Best effort.

        A stop that was begun just before goes on: its controller was killed.
        """
        known = {one.run_id: one for one in self._read()}
        noted = known.pop(run_id, None)
        if noted is None or noted.stop is None or not 0 <= wall - noted.stop < TAKEN_UP:
            self._write([*known.values(), EndedRun(run_id=run_id, stop=wall)])

    def add(self, run: LocalService, wall: float) -> None:
        """Note how the last run ended, before the next one replaces its records. Best effort.

        Args:
            run: as it was observed.
            wall: the time, which stands for the one of its end where nobody knows that.
        """
        if run.exit is None:
            return
        known = {one.run_id: one for one in self._read()}
        noted = known.get(run.run_id)
        if noted is None or not noted.ended:
            known[run.run_id] = ended(run, noted, wall)
            self._write([*known.values()])

    def read(self) -> tuple[EndedRun, ...]:
        """Return those that have ended, the last one last."""
        return tuple(one for one in self._read() if one.ended)

    def _write(self, runs: list[EndedRun]) -> None:
        with contextlib.suppress(OSError):
            files.replace_file(self._path, json.dumps([asdict(one) for one in runs[-KEPT:]]).encode(), durable=False)

    def _read(self) -> list[EndedRun]:
        try:
            with self._path.open("rb") as file:
                return [_of(one) for one in json.loads(file.read(_BYTES))]
        except (OSError, ValueError, TypeError, LookupError, RecursionError):
            return []


def ended(run: LocalService, noted: EndedRun | None, wall: float) -> EndedRun:
    """Return what is to be remembered of a run: our stop of it began when we noted that, else when its keeper knew."""
    exit_ = run.exit or Exit(run_id=run.run_id)
    stop = None
    if exit_.asked and noted is not None and noted.stop is not None:
        stop = noted.stop
    elif exit_.asked and exit_.stop_wall is not None:
        stop = exit_.stop_wall - SLACK
    return EndedRun(run_id=run.run_id, started=run.started_wall or 0.0, stop=stop, ended=exit_.at_wall or wall)


def _of(one: dict[str, Any]) -> EndedRun:
    """Raises ValueError, TypeError or LookupError: an agent that is not confined can write this file."""
    started, ended_at, stop = one["started"], one["ended"], one["stop"]
    if not all(0 <= at < _LATEST for at in (started, ended_at, stop or 0)):
        raise ValueError("no time")
    return EndedRun(run_id=str(one["run_id"])[:64], started=started, stop=stop, ended=ended_at)
