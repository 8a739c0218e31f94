"""Keep why a watchdog ended a run, beside the records of that run: its keeper sees only a kill."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import Final

from reconciler.system import exchange_file

_BYTES: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Overrun:
    """A run that used more than it may."""

    run_id: str
    cause: str
    """A clause."""
    memory: bool


def write(folder: str, service: str, overrun: Overrun) -> None:
    """Replace what is kept of a service. Best effort: without it the end has no cause."""
    with contextlib.suppress(OSError):
        exchange_file.swap_in(_path(folder, service), json.dumps(vars(overrun)).encode(), durable=False)


def read(folder: str, service: str, run_id: str) -> Overrun | None:
    """Return what is kept of this run."""
    try:
        with open(_path(folder, service), "rb") as file:  # noqa: PTH123  beside records, which are opened so too
            found = json.loads(file.read(_BYTES))
        overrun = Overrun(run_id=str(found["run_id"]), cause=str(found["cause"]), memory=found["memory"] is True)
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return overrun if overrun.run_id == run_id else None


def _path(folder: str, service: str) -> str:
    return os.path.join(folder, f"{service}.overrun.json")  # noqa: PTH118  as above
