"""The queue of names: who is looked at, and how often."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from reconciler.controller.workqueue import WorkQueue
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0


class Passes:
    """A queue whose passes look as often as they are told to, and are let go on one look at a time."""

    def __init__(self, looks: int = 1) -> None:
        self.seen: list[str] = []
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self._looks = looks
        self._go = asyncio.Semaphore(0)
        self.queue: WorkQueue | None = None

    async def work(self, name: str, _urgent: bool) -> float | None:
        self.seen.append("pass")
        for _ in range(self._looks):
            assert self.queue is not None
            self.queue.observing(name)
            self.seen.append("look")
            self.begun.put_nowait(name)
            await self._go.acquire()
        return None

    async def during_the_first_look(self, happen: Callable[[WorkQueue], None], looks_in_all: int) -> list[str]:
        """What was seen when this happened while a pass looked for the first time."""
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            self.queue = WorkQueue(self.work, tasks)
            self.queue.add("app")
            await self.begun.get()
            happen(self.queue)
            for _ in range(looks_in_all - 1):
                self._go.release()
                await self.begun.get()
            self._go.release()
        return self.seen


async def test_asking_during_a_pass_gives_exactly_one_more() -> None:
    """However often it is asked, and though the pass looks again."""

    def ask(queue: WorkQueue) -> None:
        queue.add("app")
        queue.add("app", urgent=True)

    assert await Passes(looks=2).during_the_first_look(ask, 4) == ["pass", "look", "look"] * 2


async def test_an_event_after_the_last_look_gives_one_more_pass() -> None:
    """It may not have been seen."""
    assert await Passes().during_the_first_look(lambda queue: queue.event("app"), 2) == ["pass", "look"] * 2


async def test_an_event_before_a_look_is_served_by_it() -> None:
    """A stop is noticed while it is waited for: the look after it has seen that."""
    assert await Passes(looks=2).during_the_first_look(lambda queue: queue.event("app"), 2) == ["pass", "look", "look"]


async def test_an_event_of_a_name_at_rest_begins_a_pass() -> None:
    """At once."""
    passes = Passes()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        passes.queue = WorkQueue(passes.work, tasks)
        passes.queue.event("app")
        assert await passes.begun.get() == "app"
        passes._go.release()


def test_long_timers_run_out_together() -> None:
    """At whole seconds, never early; short ones to the moment."""
    ran: dict[str, float] = {}

    async def work(name: str, _urgent: bool) -> float | None:
        ran[name] = asyncio.get_running_loop().time()
        return None

    async def story() -> None:
        await asyncio.sleep(0.3)
        async with asyncio.TaskGroup() as tasks:
            queue = WorkQueue(work, tasks)
            for name, after in {"app": 60.0, "site": 60.4, "blog": 0.25}.items():
                queue.add_after(name, after)
            await asyncio.sleep(70)
            queue.close()

    virtual_time.run(story())

    began = virtual_time.START + 0.3
    assert ran["app"] == ran["site"] == virtual_time.START + 61
    assert ran["blog"] - began == pytest.approx(0.25)
