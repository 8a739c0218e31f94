"""The controller's loop: who is looked at, and when.

Belongs here: turning spec changes, exits, edits and timers into names on the queue, and publishing what came out.
Does not belong here: what is done with a name (`reconcile`), or anything about the machine.

Watches are hints. Every `resync` seconds all files that people edit are looked at whatever the watches said, and every
project comes up again by its own timer, once a minute when all is well, so a lost event costs that and never
correctness.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from reconciler.controller import passes
from reconciler.controller.reconciler import Project, Reconciler
from reconciler.controller.workqueue import WorkQueue
from reconciler.core import spec
from reconciler.core.reasons import Reason
from reconciler.core.spec import State
from reconciler.core.status import Note
from reconciler.engines.base import Events
from reconciler.settings import UserError
from reconciler.specs import spec_folder, tombstones
from reconciler.specs.tombstones import Tombstones
from reconciler.state import published
from reconciler.system import aio, inotify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.core.observed import Probe, Service
    from reconciler.core.spec import Spec
    from reconciler.engines.base import Engine
    from reconciler.settings import Settings
    from reconciler.specs.spec_folder import SpecFolder
    from reconciler.state.ledger import Ledgers
    from reconciler.state.published import Controller as Identity

PUBLISH_GATHER: Final = 0.01
"""Seconds in which changes of status are gathered into one write, which must not delay what is being done: no longer
than until everything is at rest, for then nothing more will come soon."""
PUBLISH_SHARE: Final = 4.0
"""Times as long as a write took that none follows, but for the one that says that all came to rest: with a thousand
projects it takes 20 ms."""
FEW: Final = 10
"""Specs that change at once for which somebody may be waiting; of more, as from a git pull, those our tools wrote."""
BATCH: Final = 50
"""Specs brought into force in one step of the event loop: a thousand take 0.1 s."""
TIDY: Final = 3600.0
"""Seconds between two looks into the trash."""

log = structlog.stdlib.get_logger(__name__)


class Loop(Events):
    """Reconciles every project of one specs folder until it is stopped."""

    def __init__(
        self,
        settings: Settings,
        folder: SpecFolder,
        ledgers: Ledgers,
        make_engine: Callable[[Events], Engine],
        identity: Callable[[tuple[str, ...]], Identity],
        keep_lead: Callable[[], None],
    ) -> None:
        self.projects: dict[str, Project] = {}
        self.on_change: Callable[[Project], None] = lambda _project: None
        """Called whenever the status of a project was computed anew."""
        self.on_notes: Callable[[tuple[str, ...]], None] = lambda _notes: None
        """Called with all notes about the specs folder when they are others."""
        self.on_rest: Callable[[], None] = lambda: None
        """Called when something has changed and everything is at rest."""
        self.on_passed: Callable[[], None] = lambda: None
        """Called when something has changed and every project had its pass."""
        self._settings = settings
        self._folder = folder
        self._ledgers = ledgers
        self._identity = identity
        self._keep_lead = keep_lead
        self._engine = make_engine(self)
        self._reconciler = Reconciler(self._engine, ledgers, Tombstones(settings), self._changed, settings)
        self._index = published.Writer(settings.home)
        self._missing: set[str] = set()
        """Projects whose file has been gone for the settle time."""
        self._held: set[str] = set()
        """Those of them that vanished with most others: nobody has confirmed it yet."""
        self._look = asyncio.Event()
        self._dirty = asyncio.Event()
        """Something is to be published soon."""
        self._rest = asyncio.Event()
        """Everything is at rest, with news since what was published last."""
        self._aged = False
        """Something was looked at again and is as it was: the times of that can wait."""
        self._warnings: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        """What lies in the specs folder and is not used, as published."""
        self._unread = True
        """Whether files wait to be settled."""
        self._queue: WorkQueue | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile until `stop` is set. What runs goes on running."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._queue = WorkQueue(self._pass, tasks)
                self._reconciler.on_look = self._looking
                helpers = [
                    tasks.create_task(self._read_specs(), name="specs"),
                    tasks.create_task(
                        inotify.watch(self._settings.specs, self._look.set, self._settings.poll), name="watch"
                    ),
                    tasks.create_task(self._engine.watch(self._hinted), name="edits"),
                    tasks.create_task(self._publish(), name="publish"),
                    tasks.create_task(self._stay(), name="stay"),
                    tasks.create_task(self._tidy(), name="tidy"),
                ]
                await stop.wait()
                self._queue.close()
                for helper in helpers:
                    helper.cancel()
        finally:
            self._ledgers.close()
            self._write_index(*self._index_now())
            await self._engine.close()

    def at_rest(self) -> bool:
        """Whether every project is as wanted or waits for a person."""
        return not self._unread and all(passes.at_rest(project) for project in self.projects.values())

    def all_passed(self) -> bool:
        """Whether every project had its pass: it is at rest, or waits for a time to try again."""
        return not self._unread and all(passes.at_rest(one) or passes.backs_off(one) for one in self.projects.values())

    def dirty(self) -> None:
        """What is published about the controller itself has changed."""
        self._dirty.set()

    # -- specs -----------------------------------------------------------------------------------------------------

    async def _read_specs(self) -> None:
        """Look into the specs folder whenever something hints at a change, and every so often."""
        clock = asyncio.get_running_loop().time
        while True:
            self._look.clear()
            look = await asyncio.to_thread(self._folder.look, clock())
            await self._take(look)
            self._notice_edits()
            unread, self._unread = self._unread, look.again is not None
            if unread and not self._unread:
                self._dirty.set()
            # No watch tells of a word on those held back, or of room on a disk that was full.
            watched = look.watchable and not self._held and not self._warnings
            wait = self._settings.resync if watched else self._settings.poll
            if look.again is not None:
                wait = min(wait, max(0.0, look.again - clock()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._look.wait()

    async def _take(self, look: spec_folder.Look) -> None:
        """Bring what the folder says into force."""
        warnings: tuple[str, ...] = () if look.scan.readable else (f"{look.scan.problem}; nothing is stopped",)
        warnings += self._ledgers.save_again()
        if look.scan.readable and look.scan.warnings != self.notes:
            self.notes = look.scan.warnings
            self.on_notes(self.notes)
            self._dirty.set()
        if warnings != self._warnings:
            self._warnings = warnings
            self._dirty.set()
        few = len(look.changes) <= FEW
        for number, change in enumerate(look.changes, 1):
            if number % BATCH == 0:
                await asyncio.sleep(0)
            token = look.scan.files.get(change.name)
            version = token.text if token else ""
            match change:
                case spec_folder.Accepted(name=name, spec=accepted, vouched=vouched):
                    self._accept(name, accepted, version, urgent=few or vouched)
                case spec_folder.Rejected(name=name, message=message):
                    self._reject(name, message, version)
                case spec_folder.Poked(name=name):
                    self._poke(name, version)
                case spec_folder.Vanished(name=name):
                    self._missing.add(name)
        if look.scan.readable:
            self._take_vanished(look.scan)

    def _accept(self, name: str, accepted: Spec, version: str, *, urgent: bool) -> None:
        ledger = self._ledgers.accept(name, accepted)
        project = self.projects.setdefault(name, Project(name=name))
        changed = project.spec is not None and project.spec != accepted
        project.spec, project.version, project.spec_problem, project.asked = accepted, version, None, True
        project.warnings = ()
        log.info("spec accepted", project=name, generation=ledger.generation, state=accepted.state)
        self._add(name, urgent=urgent, restart=changed)
        if changed:
            self._ports_may_be_free()

    def _reject(self, name: str, message: str, version: str) -> None:
        project = self._restore(name)
        project.spec_problem = Note(reason=Reason.SPEC_INVALID, message=message, stalled=True)
        project.version = version
        log.warning("spec rejected", project=name, reason=message)
        self._add(name, urgent=True)

    def _restore(self, name: str) -> Project:
        """The project with its last accepted spec in force."""
        project = self.projects.setdefault(name, Project(name=name))
        ledger = self._ledgers.get(name)
        if project.spec is None and ledger is not None and ledger.spec:
            with contextlib.suppress(spec.SpecError):
                project.spec = spec.parse(dict(ledger.spec))
        return project

    def _poke(self, name: str, version: str) -> None:
        """The same text again: somebody asks to look now."""
        if project := self.projects.get(name):
            project.version, project.asked = version, True
            self._add(name, urgent=True)

    def _take_vanished(self, scan: spec_folder.Scan) -> None:
        """A missing file means stop and keep; many missing at once mean that somebody should look first."""
        there = scan.files.keys() | scan.unusable.keys()
        self._missing -= there
        gone = sorted(self._ledgers.names(but=there) | (self.projects.keys() - there))
        if pending := set(gone) - self._missing:
            if self._folder.expect(pending):  # a sandbox that was put back
                self._look.set()
            return  # more are on their way out: they are judged together
        new = []
        for name in gone:
            ledger = self._ledgers.get(name)
            if ledger is None or not ledger.spec:
                self._forget(name)
            elif not ledger.vanished:
                new.append(name)
            elif name not in self.projects:
                self._stop_vanished(name)
        unconfirmed = [name for name in new if not tombstones.missing_confirmed(self._settings.home, name)]
        before = len([name for name in there if name in self.projects]) + len(new)
        self._held = spec_folder.held_back(before, unconfirmed, self._held)
        for name in new:
            if name in self._held:
                self._hold_vanished(name, len(self._held), before)
            else:
                self._stop_vanished(name)

    def _stop_vanished(self, name: str) -> None:
        project = self._restore(name)
        if project.spec is None:
            return
        self._ledgers.update(name, vanished=True)
        tombstones.forget_confirmation(self._settings.home, name)
        project.spec = project.spec.model_copy(update={"state": State.STOPPED.value})
        message = f"{self._settings.specs / name}.yaml is missing: stopped, and everything is kept"
        project.spec_problem = None
        project.warnings = (f"{message}; to delete it for good: opencode-manager destroy {name}",)
        project.version, project.asked = "", True
        log.warning("spec vanished", project=name)
        self._add(name, urgent=True, restart=True)

    def _hold_vanished(self, name: str, missing: int, before: int) -> None:
        project = self._restore(name)
        message = (
            f"cannot find {missing} of {before} spec files that were there, so nothing is stopped; "
            f"put {name}.yaml back, or confirm with: opencode-manager confirm-missing"
        )
        note = Note(reason=Reason.SPEC_MISSING, message=message, stalled=True)
        if project.spec_problem != note:
            project.spec_problem, project.version = note, ""
            log.warning("specs vanished at once", project=name, missing=missing, before=before)
            self._add(name)

    # -- names -----------------------------------------------------------------------------------------------------

    def happened(self, name: str) -> None:
        """Look at it now."""
        if self._queue is not None and name in self.projects:
            self._queue.event(name)
            self._ports_may_be_free()

    def probed(self, name: str, service: Service, probe: Probe) -> None:
        """It is no reason to look, but to say how fresh what is published is."""
        if project := self.projects.get(name):
            self._reconciler.refresh(project, service, probe)

    def _ports_may_be_free(self) -> None:
        """Another project may have given up what these wait for: two that swap their ports need not wait for timers."""
        for name, project in self.projects.items():
            hold = project.plan.hold
            if Reason.PORT_TAKEN in {project.note and project.note.reason, hold and hold.reason}:
                self._add(name)

    def _looking(self, name: str) -> None:
        """What is edited from here on, the look may miss."""
        self._notice_edit(name)
        if self._queue is not None:
            self._queue.looking(name)

    def _hinted(self) -> None:
        """Something beside the specs may have changed; perhaps the sandbox of one that we do not know was put back."""
        self._notice_edits()
        if self._ledgers.names(but=self.projects.keys()):
            self._look.set()

    def _notice_edits(self) -> None:
        for name in self.projects:
            self._notice_edit(name)

    def _notice_edit(self, name: str) -> None:
        """Files that people edit beside the spec: a change is a wish to be looked at now."""
        if self._reconciler.edits.noticed(name) and (project := self.projects.get(name)):
            project.asked = True
            self._add(name, urgent=True)

    def _add(self, name: str, *, urgent: bool = False, restart: bool = False) -> None:
        if self._queue is not None and name in self.projects:
            self._queue.add(name, urgent=urgent, restart=restart)

    async def _pass(self, name: str, urgent: bool) -> float | None:
        project = self.projects.get(name)
        if project is None:
            return None
        project.urgent = urgent
        try:
            after = (await self._reconciler.run(project)).after
        except (OSError, UserError) as error:
            after = self._retry(project, f"cannot look at {name}: {error}")
        except Exception as error:  # one project's unforeseen trouble must not end the others'
            log.exception("pass failed", project=name)
            what = f"cannot reconcile {name}: {type(error).__name__}; this is a bug, see the controller's log"
            after = self._retry(project, what)
        if passes.destroyed(project) and not spec_folder.spec_path(self._settings.specs, name).exists():
            self._forget(name)
            return None
        return after

    def _retry(self, project: Project, message: str) -> float:
        """A pass that could not even look: say so, and try again later each time."""
        project.failures, project.working = project.failures + 1, False
        project.note = Note(reason=Reason.CANNOT_LOOK, message=message)
        self._reconciler.publish(project)
        return min(60.0, 2.0 ** min(project.failures, 6))

    def _forget(self, name: str) -> None:
        """Nothing of it is left, wanted or actual."""
        if self.projects.pop(name, None):
            self._ledgers.forget(name)
            self._reconciler.edits.forget(name)
            self._dirty.set()
            log.info("project gone", project=name)

    # -- status ----------------------------------------------------------------------------------------------------

    def _changed(self, project: Project, news: bool) -> None:
        if news:
            self._dirty.set()
            if passes.at_rest(project) and self.at_rest():
                self._rest.set()
            self.on_change(project)
        else:
            self._aged = True

    async def _publish(self) -> None:
        """Write the index soon after something changed, many changes in one write; mere ages seldom."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.liveness):
                    await self._dirty.wait()
            if self._dirty.is_set() or self._aged:
                await self._until_rest(PUBLISH_GATHER)
                self._dirty.clear()
                self._rest.clear()
                self._aged = False
                began, rested = time.monotonic(), self.at_rest()
                await aio.to_the_end(self._write_index, *self._index_now())
                took = time.monotonic() - began
                if self.at_rest():
                    self.on_rest()
                if self.all_passed():
                    self.on_passed()
                pause = asyncio.sleep if rested else self._until_rest
                await pause(PUBLISH_SHARE * took)

    async def _until_rest(self, limit: float) -> None:
        """So many seconds, or until nothing more will come soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._rest.wait()

    def _index_now(self) -> tuple[Identity, dict[str, Mapping[str, Any]]]:
        """Take down what is to be published. On the event loop: a thread would read what the loop changes."""
        projects = self.projects.items()
        return self._identity(self._warnings), {name: each.published for name, each in projects if each.published}

    def _write_index(self, identity: Identity, projects: Mapping[str, Mapping[str, Any]]) -> None:
        try:
            self._index.write(identity, projects)
        except OSError as error:
            log.warning("cannot publish", error=str(error))
            self._aged = True  # again soon, news or not

    async def _stay(self) -> None:
        while True:
            self._keep_lead()
            if self._ledgers.unwritten:
                self._look.set()
            await asyncio.sleep(self._settings.poll)

    async def _tidy(self) -> None:
        while True:
            await aio.until_the_exit(self._engine.tidy)
            await asyncio.sleep(TIDY)
