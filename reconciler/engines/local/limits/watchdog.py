"""Hold projects to their limits where the kernel does not: measure their trees now and then, and end an agent over one.

Soft: between two measurements a tree may use any amount. It costs nothing while no project needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from reconciler.core.observed import Service
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.limits import overrun
from reconciler.engines.local.limits.means import Ceilings, Limit, size
from reconciler.engines.local.limits.overrun import Overrun
from reconciler.engines.local.processes.listener import family

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from reconciler.core.observed import ObservedLimit

PERIOD: Final = 5.0
"""Seconds between measurements. One of a project takes 1.5 ms; over its limit 0.6 more a process (measured)."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class LiveService:
    """A service whose leader is proved to live for as long as `pidfd` is open."""

    service: Service
    run: identity.Record
    pidfd: int
    folder: str

    def tree(self) -> set[int]:
        """Return the pids of its processes, without its keeper, which is ours."""
        keeper = self.run["keeper"]
        known = identity.open_verified(keeper, self.folder)
        if known is None:
            return set(family(self.run["leader"]["pid"]))
        os.close(known)
        return set(family(self.run["leader"]["pid"], keeper["pid"])) - {keeper["pid"]}


class Watchdog:
    """Watch projects. To be used on an event loop.

    Args:
        period: seconds between measurements.
    """

    def __init__(self, period: float = PERIOD) -> None:
        self._period = period
        self._watched: dict[str, tuple[Path, Ceilings]] = {}
        self._used: dict[str, Mapping[Limit, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def keep(self, name: str, run_dir: Path, ceilings: Ceilings) -> None:
        """Hold a project to these limits from now on; to none: no more."""
        if ceilings == Ceilings():
            self.forget(name)
            return
        self._watched[name] = (run_dir, ceilings)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    def forget(self, name: str) -> None:
        """Watch a project no more."""
        self._watched.pop(name, None)
        self._used.pop(name, None)

    def with_use(self, name: str, limits: tuple[ObservedLimit, ...]) -> tuple[ObservedLimit, ...]:
        """Return the limits with what was measured last, where nobody else measured."""
        used = {limit.value: float(value) for limit, value in self._used.get(name, {}).items()}
        return tuple(replace(each, used=used.get(each.name)) if each.used is None else each for each in limits)

    async def close(self) -> None:
        """End; what runs goes on, watched by nobody."""
        self._watched.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while self._watched:
            for name, (run_dir, ceilings) in list(self._watched.items()):
                used = await asyncio.to_thread(hold, run_dir, ceilings)
                if name in self._watched:
                    self._used[name] = used
            await asyncio.sleep(self._period)


def hold(run_dir: Path, ceilings: Ceilings) -> dict[Limit, int]:
    """Measure a project, and end its agent if that is over a limit; return what it uses. Blocking."""
    with _live(run_dir) as services:
        pids = set().union(*(each.tree() for each in services))
        used = measure(pids)
        if ceilings.memory is not None and used[Limit.MEMORY] > ceilings.memory:
            used[Limit.MEMORY] = sum(map(_share, pids))  # what they share counted for each of them until now
        if services and (limit := broken(ceilings, used)):
            _end(services[0], limit, ceilings)
    return used


def measure(pids: set[int]) -> dict[Limit, int]:
    """Return the bytes resident and the threads of these processes; ended ones have none."""
    memory, tasks = 0, 0
    for pid in pids:
        fields = identity.read_bytes(f"/proc/{pid}/statm").split()
        memory += int(fields[1]) * _PAGE if fields else 0
        with contextlib.suppress(OSError):
            tasks += len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208  for each process of each project
    return {Limit.MEMORY: memory, Limit.TASKS: tasks}


def _share(pid: int) -> int:
    """Return the bytes of a process, each shared page counted in parts."""
    _, found, rest = identity.read_bytes(f"/proc/{pid}/smaps_rollup").partition(b"\nPss:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else 0


def broken(ceilings: Ceilings, used: Mapping[Limit, int]) -> Limit | None:
    """Return the first limit that is exceeded."""
    return next((limit for limit, value in ceilings.items() if used.get(limit, 0) > value), None)


def _end(victim: LiveService, limit: Limit, ceilings: Ceilings) -> None:
    value = f"{ceilings.tasks} tasks" if limit is Limit.TASKS else size(ceilings.memory or 0)
    cause = f"{'out of memory' if limit is Limit.MEMORY else 'stopped'} at its limit of {value}"
    found = Overrun(run_id=victim.run["run_id"], cause=cause, memory=limit is Limit.MEMORY)
    overrun.write(victim.folder, victim.service.value, found)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(victim.pidfd, signal.SIGKILL)


@contextlib.contextmanager
def _live(run_dir: Path) -> Iterator[list[LiveService]]:
    """Yield the services that live, the agent first: it is ended before the bridge."""
    found: list[LiveService] = []
    try:
        for service in Service:
            place = identity.RunFiles(identity.real_folder(str(run_dir)), service.value)
            run = identity.read_record(place.run)
            if not run or run["boot_id"] != identity.boot_id():
                continue
            if (pidfd := identity.open_verified(run["leader"], run["marker"])) is not None:
                found.append(LiveService(service, run, pidfd, place.folder))
        yield found
    finally:
        for each in found:
            os.close(each.pidfd)
