"""Writing the published index soon after a change, many changes in one write."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from reconciler.controller import passes
from reconciler.controller.events import AllPassed, AtRest, FolderScanned, StatusAged, StatusChanged
from reconciler.engines.base import ProjectGone
from reconciler.state import published
from reconciler.system import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.controller.intake import Intake
    from reconciler.core.status import ProjectStatus
    from reconciler.engines.base import Events
    from reconciler.settings import Settings
    from reconciler.state.published import ControllerInfo as Identity

PUBLISH_GATHER: Final = 0.01
"""Seconds in which changes of status are gathered into one write, which must not delay what is being done; cut short
once everything is at rest, for then nothing more comes soon."""
PUBLISH_SHARE: Final = 4.0
"""Pause between two writes, in multiples of the time the last one took: with a thousand projects it takes 20 ms. The
write that says that all came to rest does not wait for it."""

log = structlog.stdlib.get_logger(__name__)


class Publisher:
    """Publishes the status of all projects, and on the sink when all are at rest.

    Args:
        settings: the home, and how often mere ages are published.
        intake: the projects, and whether their specs are read.
        identity: what the index says of the controller itself.
        events: the sink.
    """

    def __init__(self, settings: Settings, intake: Intake, identity: Callable[[], Identity], events: Events) -> None:
        self._settings = settings
        self._intake = intake
        self._identity = identity
        self._events = events
        self._index = published.Writer(settings.home)
        self._documents: dict[str, tuple[ProjectStatus, Mapping[str, Any]]] = {}
        """As written last: a status that is the same object is not turned into a document again."""
        self._dirty = asyncio.Event()
        """Something is to be published soon."""
        self._rest = asyncio.Event()
        """Everything is at rest, with news since what was published last."""
        self._aged = False
        """Something was observed and is as it was: that can wait."""
        events.subscribe(StatusChanged, self._changed)
        events.subscribe(StatusAged, self._got_older)
        events.subscribe(FolderScanned, self._scanned)
        events.subscribe(ProjectGone, lambda _gone: self.request())

    def request(self) -> None:
        """Publish soon: what is published about the controller itself has changed."""
        self._dirty.set()

    def at_rest(self) -> bool:
        """Return whether every project is as desired or waits for a person."""
        return not self._intake.pending and all(map(passes.at_rest, self._intake.projects.values()))

    def all_passed(self) -> bool:
        """Return whether every project had its pass: it is at rest, or waits for a time to try again."""
        projects = self._intake.projects.values()
        return not self._intake.pending and all(passes.at_rest(one) or passes.backs_off(one) for one in projects)

    def all_ready(self) -> bool:
        """Return whether every project is as desired."""
        projects = self._intake.projects.values()
        return all(each.status is not None and each.status.ready.status for each in projects)

    async def run(self) -> None:
        """Write the index soon after something changed, and mere ages seldom, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.liveness):
                    await self._dirty.wait()
            if self._dirty.is_set() or self._aged:
                await self._until_rest(PUBLISH_GATHER)
                await self._publish()

    async def _publish(self) -> None:
        self._dirty.clear()
        self._rest.clear()
        self._aged = False
        began, rested = time.monotonic(), self.at_rest()
        await aio.run_in_thread_shielded(self._write, *self._snapshot())
        took = time.monotonic() - began
        if self.at_rest():
            self._events.publish(AtRest(self.statuses()))
        if self.all_passed():
            self._events.publish(AllPassed(self.statuses()))
        pause = asyncio.sleep if rested else self._until_rest
        await pause(PUBLISH_SHARE * took)

    async def _until_rest(self, limit: float) -> None:
        """Wait for so many seconds, or until nothing more comes soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._rest.wait()

    def write_now(self) -> None:
        """Write the index before returning. Blocking; only while `run` does not run."""
        self._write(*self._snapshot())

    def statuses(self) -> tuple[ProjectStatus, ...]:
        """Return those of all projects that had their first pass, by name."""
        return tuple(each.status for _, each in sorted(self._intake.projects.items()) if each.status is not None)

    def _snapshot(self) -> tuple[Identity, tuple[ProjectStatus, ...]]:
        """Take down what is to be published. On the event loop: a thread would read what the loop changes."""
        return self._identity(), self.statuses()

    def _write(self, identity: Identity, statuses: tuple[ProjectStatus, ...]) -> None:
        """Write the index. Called in a thread, one call at a time."""
        self._documents = {status.name: self._document(status) for status in statuses}
        try:
            self._index.write(identity, {name: document for name, (_, document) in self._documents.items()})
        except OSError as error:
            log.warning("cannot publish", error=str(error))
            self._aged = True  # again soon, news or not

    def _document(self, status: ProjectStatus) -> tuple[ProjectStatus, Mapping[str, Any]]:
        before = self._documents.get(status.name)
        return before if before is not None and before[0] is status else (status, status.to_dict())

    def _changed(self, event: StatusChanged) -> None:
        self._dirty.set()
        project = self._intake.projects.get(event.status.name)
        if project is not None and passes.at_rest(project) and self.at_rest():
            self._rest.set()

    def _got_older(self, _event: StatusAged) -> None:
        self._aged = True

    def _scanned(self, event: FolderScanned) -> None:
        if event.news:
            self._dirty.set()
