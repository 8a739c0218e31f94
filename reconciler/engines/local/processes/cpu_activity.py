"""How busy the processes of a service are.

Belongs here: the processor time of a process tree, and what it says of a service that does not answer.
Does not belong here: asking it (`health`), or ending it (`plan`).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reconciler.engines.local.keeper.identity import Stat
from reconciler.engines.local.processes.listener import family

if TYPE_CHECKING:
    from reconciler.core.observed import Probe
    from reconciler.engines.local.facts import LocalService

_TICKS: Final = os.sysconf("SC_CLK_TCK")
IDLE: Final = 0.02
"""Share of one processor below which a silent service counts as idle: timers alone use about 0.005."""


def processor_time(leader: int, keeper: int | None) -> float:
    """Seconds of processor time that a service's processes have used, those that ended included.

    They are all descendants of its keeper, which takes up orphans; of a leader that was adopted, its own alone.
    """
    stats = {pid: Stat(pid) for pid in family(leader, *(() if keeper is None else (keeper,)))}
    return sum(stat.reaped + (0 if pid == keeper else stat.ticks) for pid, stat in stats.items()) / _TICKS


class Quiet:
    """Since when silent services have been idle."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    async def judge(self, facts: LocalService, probe: Probe) -> Probe:
        """The probe with `quiet_since` set while it misses answers and works at nothing.

        It counts from this look at its work, not from the question: a question without an answer takes seconds.
        """
        if not probe.misses or probe.answers or facts.pid is None:
            self._seen.pop(facts.run_id, None)
            return replace(probe, quiet_since=None)
        # A walk over all processes: in a thread, since it is made just when the machine is slow.
        used = await asyncio.to_thread(processor_time, facts.pid, facts.keeper_pid)
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        at, before = self._seen.get(facts.run_id, (now, used))
        self._seen[facts.run_id] = now, used
        # Less than before: something of it ended whose time nobody was left to count.
        idle = 0 <= used - before <= IDLE * max(0.0, now - at) + 1 / _TICKS
        since = probe.quiet_since if idle and probe.quiet_since is not None else now
        return replace(probe, quiet_since=since)
