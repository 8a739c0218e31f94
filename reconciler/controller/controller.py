"""When each project is reconciled: names from events, edits and timers go onto a queue, and passes come off it.

Watches are hints. Every project comes up again by its own timer, once a minute when all is well, so a lost event costs
that and never correctness.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from reconciler.controller import passes
from reconciler.controller.answering import Answering
from reconciler.controller.events import FolderScanned, Observing, PassEnded, SpecChanged, StatusChanged
from reconciler.controller.reconciler import Reconciler
from reconciler.controller.workqueue import WorkQueue
from reconciler.core.reasons import Reason
from reconciler.engines.base import FingerprintsMayDiffer, ProjectDisturbed, ProjectGone, ServiceProbed
from reconciler.settings import UserError
from reconciler.specs import spec_folder
from reconciler.specs.tombstones import Tombstones
from reconciler.state.since import Since
from reconciler.system import aio

if TYPE_CHECKING:
    from reconciler.controller.intake import Intake
    from reconciler.controller.publisher import Publisher
    from reconciler.engines.base import Engine, Events
    from reconciler.settings import Settings
    from reconciler.state.ledger import Ledgers

SINCE_GATHER: Final = 0.05
"""Seconds in which changes of what is shown are gathered into one write of their times."""
TIDY: Final = 3600.0
"""Seconds between two prunings of the trash."""

log = structlog.stdlib.get_logger(__name__)


class Controller:
    """Reconciles every project of one specs folder until it is stopped. Runs once.

    Args:
        settings: of this controller.
        ledgers: closed when it ends.
        engine: where projects run; closed when it ends.
        events: the sink that the engine and the intake publish to.
        intake: the projects and what is desired of them.
        publisher: of the index.
    """

    def __init__(
        self,
        settings: Settings,
        ledgers: Ledgers,
        engine: Engine,
        events: Events,
        intake: Intake,
        publisher: Publisher,
    ) -> None:
        self._settings = settings
        self._ledgers = ledgers
        self._engine = engine
        self._events = events
        self._intake = intake
        self._projects = intake.projects
        self._publisher = publisher
        self._since = Since(settings.home)
        self._taking_down: asyncio.TimerHandle | None = None
        self._reconciler = Reconciler(engine, ledgers, Tombstones(settings), events, settings, self._since.earlier)
        self._answering = Answering(settings, engine, intake.projects, events)
        self._tasks = asyncio.TaskGroup()
        self._queue = WorkQueue(self._pass, self._tasks)
        events.subscribe(SpecChanged, self._spec_changed)
        events.subscribe(FolderScanned, lambda _scanned: self._notice_edits())
        events.subscribe(ProjectDisturbed, self._disturbed)
        events.subscribe(FingerprintsMayDiffer, lambda _hint: self._hinted())
        events.subscribe(ServiceProbed, self._probed)
        events.subscribe(Observing, self._observing)
        events.subscribe(ProjectGone, lambda gone: self._reconciler.edits.forget(gone.name))
        events.subscribe(StatusChanged, lambda changed: self._take_down(self._since.keep(changed.status)))
        events.subscribe(ProjectGone, lambda gone: self._take_down(self._since.forget(gone.name)))

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile until `stop` is set. What runs goes on running."""
        work = (
            self._intake.run(),
            self._intake.watch(),
            self._engine.watch(),
            self._publisher.run(),
            self._answering.run(),
            self._save(),
            self._tidy(),
        )
        try:
            async with self._tasks as tasks:
                helpers = [tasks.create_task(each) for each in work]
                await stop.wait()
                self._queue.close()
                for helper in helpers:
                    helper.cancel()
        finally:
            self._write_since()
            self._ledgers.close()
            self._publisher.write_now()
            await self._engine.close()

    # -- what happens ----------------------------------------------------------------------------------------------

    def _spec_changed(self, event: SpecChanged) -> None:
        self._queue.add(event.name, urgent=event.urgent, restart=event.replaced)
        if event.replaced:
            self._ports_may_be_free()

    def _disturbed(self, event: ProjectDisturbed) -> None:
        if event.name in self._projects:
            self._queue.event(event.name)
            self._ports_may_be_free()

    def _probed(self, event: ServiceProbed) -> None:
        """Take up how fresh the status is; it is no reason for a pass."""
        if project := self._projects.get(event.name):
            self._reconciler.refresh(project, event.service, event.probe)

    def _observing(self, event: Observing) -> None:
        """Compare fingerprints first: the observation may miss what is edited from here on."""
        self._notice_edit(event.name)
        self._queue.observing(event.name)

    def _hinted(self) -> None:
        """React to a possible change beside the specs; perhaps a sandbox without a project was put back."""
        self._notice_edits()
        if self._intake.unknown_sandbox():
            self._intake.rescan()

    def _notice_edits(self) -> None:
        for name in self._projects:
            self._notice_edit(name)

    def _notice_edit(self, name: str) -> None:
        """Reconcile now if files that people edit beside the spec have changed."""
        project = self._projects.get(name)
        if project is not None and self._reconciler.edits.changed(name):
            project.desired = replace(project.desired, asked=True)
            self._queue.add(name, urgent=True)

    def _ports_may_be_free(self) -> None:
        """Reconcile those that wait for a port: two projects that swap theirs need not wait for timers."""
        for name, project in self._projects.items():
            note, hold = project.attempt.note, project.attempt.plan.hold
            if Reason.PORT_TAKEN in {note and note.reason, hold and hold.reason}:
                self._queue.add(name)

    # -- what is done ----------------------------------------------------------------------------------------------

    async def _pass(self, name: str, urgent: bool) -> float | None:
        """Run one pass; return the seconds until the next, None when the project is gone."""
        project = self._projects.get(name)
        if project is None:
            return None
        try:
            due = await self._reconciler.run(project, urgent=urgent)
        except (OSError, UserError) as error:
            due = self._reconciler.failed(project, f"cannot observe {name}: {error}")
        except Exception as error:  # one project's unforeseen trouble must not end the others'
            log.exception("pass failed", project=name)
            what = f"cannot reconcile {name}: {type(error).__name__}; this is a bug, see the controller's log"
            due = self._reconciler.failed(project, what)
        if project.status is not None:
            self._events.publish(PassEnded(project.status))
        if passes.destroyed(project) and not spec_folder.spec_path(self._settings.specs, name).exists():
            self._intake.forget(name)
            return None
        return due.after

    async def _save(self) -> None:
        """Try soon again to write what could not be written: the intake does that at each scan."""
        while True:
            if self._ledgers.unwritten:
                self._intake.rescan()
            await asyncio.sleep(self._settings.poll)

    def _take_down(self, news: bool) -> None:
        """Write since when what is shown holds, many changes at once."""
        if news and self._taking_down is None:
            self._taking_down = asyncio.get_running_loop().call_later(SINCE_GATHER, self._write_since)

    def _write_since(self) -> None:
        if self._taking_down is not None:
            self._taking_down.cancel()
            self._taking_down = None
        with contextlib.suppress(OSError):  # with the next change
            self._since.flush()

    async def _tidy(self) -> None:
        while True:
            await aio.run_in_daemon_thread(self._engine.tidy)
            await asyncio.sleep(TIDY)
