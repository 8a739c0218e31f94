"""Judge how a long start gets on: whether it works, and when to give it up.

Slow is no reason to end a service: an agent that installs plugins answers nothing until npm is done. As with liveness,
processor time is work; so are bytes that are read or written, and lines in the agent's own log. Only one that shows
none of these for the whole start limit is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.core.observed import Phase
from reconciler.engines.local.processes import cpu_activity, processes
from reconciler.engines.local.processes.listener import family

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PERIOD: Final = 10.0
"""Seconds between two judgements, or a sixth of the start limit where that is less."""
SHARE: Final = 0.05
"""Of one processor, over a period. An agent that waits for a registry uses 0.01, and once a minute 0.03 (measured);
an install on a machine with ten times more work than processors still gets 0.1."""
BYTES: Final = 800
"""A second that are read and written, over a period. One that waits has 130 (measured)."""
TICKS: Final = 0.02
"""Seconds by which the kernel's count of processor time may be off: two of its ticks."""


@dataclass(frozen=True)
class Work:
    """What a service has done since it began."""

    processor: float
    """Seconds."""
    moved: int
    """Bytes."""
    said: int
    """Bytes of its own log."""

    def since(self, before: Work, seconds: float) -> bool:
        """Tell whether that is work; less than before means that a part of it ended, which is work too."""
        used, moved = self.processor - before.processor, self.moved - before.moved
        idle = 0 <= used <= SHARE * seconds + TICKS and 0 <= moved <= BYTES * seconds
        return not idle or self.said != before.said


class Progress:
    """The progress of one start.

    Args:
        run_dir: where the service's records are.
        service: its name.
        limit: seconds without any work after which it is given up.
        log: what the agent writes about itself; None: nothing.
        fresh: it was started just now.
    """

    def __init__(self, run_dir: Path, service: str, limit: float, log: Path | None, *, fresh: bool) -> None:
        self._run_dir = run_dir
        self._service = service
        self._limit = limit
        self._log = log
        self._began = self._worked = time.monotonic()
        self.begin = _size(log) if fresh else None
        """Size of its log when it was started; None: that is long ago."""
        self.detail = "it does not listen"
        """How the last attempt to prove it ready ended."""
        self.reported = False
        """Whether anything was reported of what it does."""

    @property
    def waited(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def silent(self) -> float:
        """Seconds without any work."""
        return time.monotonic() - self._worked

    @contextlib.asynccontextmanager
    async def followed(self, notify: Callable[[], None]) -> AsyncIterator[None]:
        """Judge the start again and again within the block.

        Args:
            notify: called after each judgement.

        Raises:
            TimeoutError: it showed no work for the whole limit.
        """
        async with asyncio.timeout(None) as end:
            task = asyncio.create_task(self._follow(end, notify), name=f"start of {self._service}")
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled() and (error := task.exception()):
                    raise error

    async def _follow(self, end: asyncio.Timeout, notify: Callable[[], None]) -> None:
        period = min(PERIOD, self._limit / 6)
        before, at = Work(0.0, 0, 0), self._began
        while self.silent < self._limit:
            await asyncio.sleep(min(period, self._limit - self.silent))
            now, seen = time.monotonic(), await asyncio.to_thread(self._measure)
            if seen is not None:
                if seen.since(before, now - at):
                    self._worked = now
                before, at = seen, now
            if self.silent < self._limit:
                notify()
        end.reschedule(asyncio.get_running_loop().time())

    def _measure(self) -> Work | None:
        facts = processes.observe(self._run_dir, self._service, processes.now())
        if facts.phase is not Phase.RUNNING or facts.pid is None:
            return None
        used = cpu_activity.processor_time(facts.pid, facts.keeper_pid)
        return Work(used, sum(map(_moved, family(facts.pid))), _size(self._log))


def _moved(pid: int) -> int:
    """Return the bytes that a process has read and written, of files and pipes."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.partition(":")[2]) for line in lines[:2])


def _size(log: Path | None) -> int:
    try:
        return log.stat().st_size if log else 0
    except OSError:
        return 0
