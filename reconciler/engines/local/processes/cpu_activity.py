"""Measure how busy the processes of a service are."""

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
    """Return the seconds of processor time that a service's processes have used, ended ones included.

    They are all descendants of its keeper, which adopts orphans; of a leader that was adopted, only its own.
    """
    stats = {pid: Stat(pid) for pid in family(leader, *(() if keeper is None else (keeper,)))}
    return sum(stat.reaped + (0 if pid == keeper else stat.ticks) for pid, stat in stats.items()) / _TICKS


class Quiet:
    """Remember since when silent services have been idle."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    async def judge(self, facts: LocalService, probe: Probe) -> Probe:
        """Return the probe with `quiet_since` set while the service neither answers nor works.

        It counts from this measurement, not from the request: a request without an answer takes seconds.
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
