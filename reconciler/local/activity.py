"""How busy the processes of a service are.

Belongs here: the processor time of a process tree, and what it says of a service that does not answer.
Does not belong here: asking it (`health`), or ending it (`plan`).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reconciler.local.proofs import Stat, pids

if TYPE_CHECKING:
    from reconciler.facts import Probe

_TICKS: Final = os.sysconf("SC_CLK_TCK")
IDLE: Final = 0.02
"""Share of one processor below which a silent service counts as idle: timers alone use about 0.005."""


def family(leader: int) -> set[int]:
    """The leader and its descendants."""
    parents = {pid: Stat(pid).parent for pid in pids()}
    found = {leader}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def processor_time(leader: int) -> float:
    """Seconds of processor time that a service's processes have used."""
    return sum(Stat(pid).ticks for pid in family(leader)) / _TICKS


class Quiet:
    """Since when silent services have been idle."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def judge(self, run_id: str, leader: int | None, probe: Probe) -> Probe:
        """The probe with `quiet_since` set while it misses answers and works at nothing."""
        if not probe.misses or leader is None:
            self._seen.pop(run_id, None)
            return replace(probe, quiet_since=None)
        used = processor_time(leader)
        at, before = self._seen.get(run_id, (probe.at, used))
        self._seen[run_id] = probe.at, used
        idle = used - before <= IDLE * max(0.0, probe.at - at) + 1 / _TICKS
        since = probe.quiet_since if idle and probe.quiet_since is not None else probe.at
        return replace(probe, quiet_since=since)
