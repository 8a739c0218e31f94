"""Logins that agents and the user renew: whenever one of them has, all are brought together."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import structlog

from reconciler.system.aio import run_in_thread_shielded

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.agents.base import Driver, Place

log = structlog.stdlib.get_logger(__name__)


class Renewals:
    """The agents that run, and the files in which they keep what they renew.

    Nobody watches these files: a database lies beside them that is written all the time. They are looked at with each
    probe of an agent, and once one was changed, at once for all the others.
    """

    def __init__(self, exchanged: Callable[[], None]) -> None:
        self._exchanged = exchanged
        """Called after each exchange."""
        self._agents: dict[str, tuple[Driver, Place]] = {}
        self._known: dict[str, object] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def keep(self, name: str, driver: Driver, place: Place) -> None:
        """Look after a project's agent from now on."""
        self._agents[name] = (driver, place)

    def forget(self, name: str) -> None:
        """It runs no longer; what it has renewed at the end is taken up when it is started."""
        self._agents.pop(name, None)
        self._known.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """Return the projects whose agents are looked after."""
        return tuple(self._agents)

    def look(self, name: str) -> None:
        """Bring together what has changed since the last look."""
        if name in self._agents and name not in self._tasks and self._stamps(name) != self._known.get(name):
            task = self._tasks[name] = asyncio.create_task(self._exchange(name), name=f"logins of {name}")
            task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def close(self) -> None:
        """Wait for what is going on."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _exchange(self, name: str) -> None:
        driver, place = self._agents[name]
        self._known[name] = self._stamps(name)  # of before: what is written meanwhile is seen by the next look
        try:
            await run_in_thread_shielded(driver.exchange, place)
        except OSError as error:
            log.warning("cannot exchange logins", project=name, error=str(error))
        self._exchanged()
        for other in [other for other in self._agents if other != name]:
            self.look(other)

    def _stamps(self, name: str) -> object:
        driver, place = self._agents[name]
        return tuple(_stamp(str(path)) for path in driver.exchanged(place))


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  at each probe
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
