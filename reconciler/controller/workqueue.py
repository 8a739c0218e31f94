"""The queue of project names to reconcile: bursts collapse, and each name is in at most one pass.

Rules (client-go's work queue, with asyncio): a request during a pass gives exactly one more pass, and so does an event,
unless the pass observes after it; a request before a timer runs out replaces the timer. Urgent passes go first.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

COARSE: Final = 10.0
"""Seconds from which a timer runs out at a whole second, so that many projects are observed together: one by itself
finds the processor's caches cold and costs three times as much (measured)."""


class PrioritySemaphore:
    """A semaphore with priorities: the most urgent of those that wait goes first."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @asynccontextmanager
    async def hold(self, priority: int) -> AsyncIterator[None]:
        """Take a place; a lower number is more urgent."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (priority, next(self._order), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on()
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class WorkQueue:
    """Runs `work(name, urgent)` for every requested name; it returns the seconds until the next time, or None.

    Names can be added once the task group is entered.
    """

    def __init__(self, work: Callable[[str, bool], Awaitable[float | None]], tasks: asyncio.TaskGroup) -> None:
        self._work = work
        self._tasks = tasks
        self._running: dict[str, asyncio.Task[float | None]] = {}
        self._closed = False
        self._again: dict[str, bool] = {}
        self._events: set[str] = set()
        """Names with an event that the pass in work may not have observed."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def add(self, name: str, *, urgent: bool = False, restart: bool = False) -> None:
        """Reconcile this project soon.

        Args:
            name: the project.
            urgent: whether a person waits for it.
            restart: whether another spec is in force: a pass in work is cancelled first.
        """
        if timer := self._timers.pop(name, None):
            timer.cancel()
        if task := self._running.get(name):
            self._again[name] = urgent or self._again.get(name, False)
            if restart:
                task.cancel()
            return
        if self._closed:
            return
        task = self._tasks.create_task(self._run(name, urgent), name=f"pass {name}")
        self._running[name] = task
        # Not in the task itself: one that is cancelled before its first step never gets there.
        task.add_done_callback(lambda done: self._finished(name, done))

    def event(self, name: str) -> None:
        """Reconcile after an event; an observation that begins from now on serves it."""
        if name in self._running:
            self._events.add(name)
        else:
            self.add(name, urgent=True)

    def observing(self, name: str) -> None:
        """Note that the pass in work begins to observe: every event before is served by it."""
        self._events.discard(name)

    def add_after(self, name: str, seconds: float) -> None:
        """Reconcile this project after so many seconds, unless it is requested earlier."""
        if name in self._running:
            self._again.setdefault(name, False)
            return
        if timer := self._timers.pop(name, None):
            timer.cancel()
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        self._timers[name] = loop.call_at(math.ceil(at) if seconds >= COARSE else at, self._due, name)

    def close(self) -> None:
        """Start nothing more and cancel what runs."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._again.clear()
        self._events.clear()
        for task in self._running.values():
            task.cancel()

    def _due(self, name: str) -> None:
        self._timers.pop(name, None)
        self.add(name)

    async def _run(self, name: str, urgent: bool) -> float | None:
        return await self._work(name, urgent)

    def _finished(self, name: str, task: asyncio.Task[float | None]) -> None:
        """Schedule the next pass of a name whose pass is over."""
        del self._running[name]
        again = self._again.pop(name, None)
        if name in self._events:
            self._events.discard(name)
            again = True
        failed = not task.cancelled() and task.exception() is not None
        if self._closed or failed:
            return  # what a pass raised ends the whole group
        if again is not None:
            self.add(name, urgent=again)
        elif not task.cancelled() and (after := task.result()) is not None:
            self.add_after(name, after)
