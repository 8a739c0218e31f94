"""From the specs folder to what is desired of each project.

Every change is published as `SpecChanged`; what a missing file means is decided in `core.missing`. The watch of the
folder is a hint: the folder is scanned every so often whatever it said.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from reconciler.controller.events import FolderNoted, FolderScanned, SpecChanged, SpecJudged
from reconciler.controller.project import Desired, Project
from reconciler.core import history, missing
from reconciler.core.history import Author, Via
from reconciler.core.missing import Decision, Missing
from reconciler.core.reasons import Reason
from reconciler.core.status import Note
from reconciler.engines.base import ProjectGone
from reconciler.specs import spec_folder, tombstones
from reconciler.system import watcher

if TYPE_CHECKING:
    from reconciler.core.observed import Ledger
    from reconciler.engines.base import Events
    from reconciler.settings import Settings
    from reconciler.specs.spec_folder import SpecFolder
    from reconciler.state.ledger import Ledgers

FEW: Final = 10
"""Specs that change at once for which a person may be waiting; of more, as from a git pull, those our tools wrote."""
BATCH: Final = 50
"""Specs brought into force in one step of the event loop: a thousand take 0.1 s."""

log = structlog.stdlib.get_logger(__name__)


class Intake:
    """Keeps what is desired of each project as the specs folder says.

    Args:
        settings: the folder and how often it is scanned.
        folder: the settling reader of the folder.
        ledgers: where accepted specs are remembered.
        events: where changes are published.
    """

    def __init__(self, settings: Settings, folder: SpecFolder, ledgers: Ledgers, events: Events) -> None:
        self.projects: dict[str, Project] = {}
        """Every project with a spec, or with something left of it."""
        self.notes: tuple[str, ...] = ()
        """What lies in the specs folder and is not used, a sentence each."""
        self.warnings: tuple[str, ...] = ()
        """What is wrong with the specs folder as a whole, or with what is remembered."""
        self.pending = True
        """Whether files wait to be settled."""
        self._settings = settings
        self._folder = folder
        self._ledgers = ledgers
        self._events = events
        self._missing: dict[str, Author] = {}
        """Projects whose file has been gone for the settle time, and who may have removed it."""
        self._held: frozenset[str] = frozenset()
        """Those of them that are held back until a person confirms."""
        self._hint = asyncio.Event()

    def rescan(self) -> None:
        """Scan the folder now."""
        self._hint.set()

    def unknown_sandbox(self) -> bool:
        """Return whether something is remembered of a project that is not in force: its sandbox was put back."""
        return bool(self._ledgers.names(but=self.projects.keys()))

    def forget(self, name: str) -> None:
        """Drop a project of which nothing is left, neither desired nor actual."""
        if self.projects.pop(name, None):
            self._ledgers.forget(name)
            log.info("project gone", project=name)
            self._events.publish(ProjectGone(name))

    async def watch(self) -> None:
        """Scan whenever the watch of the folder hints at a change, until cancelled."""
        await watcher.watch(self._settings.specs, self.rescan, self._settings.poll)

    async def run(self) -> None:
        """Scan whenever something hints at a change, and every so often, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            self._hint.clear()
            look = await asyncio.to_thread(self._folder.look, clock())
            before = self.notes, self.warnings
            await self._take(look)
            was_pending, self.pending = self.pending, look.again is not None
            news = (self.notes, self.warnings) != before or (was_pending and not self.pending)
            self._events.publish(FolderScanned(news))
            wait = self._pause(look)
            if look.again is not None:
                wait = min(wait, max(0.0, look.again - clock()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._hint.wait()

    def _pause(self, look: spec_folder.ScanResult) -> float:
        """Return the seconds until the next scan; no watch reports a confirmation, or room on a disk that was full."""
        watched = look.watchable and not self._held and not self.warnings
        return self._settings.resync if watched else self._settings.poll

    async def _take(self, look: spec_folder.ScanResult) -> None:
        """Bring what the folder says into force."""
        unreadable = () if look.scan.readable else (f"{look.scan.problem}; nothing is stopped",)
        self.warnings = (*unreadable, *self._ledgers.save_again())
        if look.scan.readable and look.scan.warnings != self.notes:
            self.notes = look.scan.warnings
            log.info("entries of the specs folder that are not used", notes=self.notes)
            self._events.publish(FolderNoted(self.notes))
        few = len(look.changes) <= FEW
        for number, change in enumerate(look.changes, 1):
            if number % BATCH == 0:
                await asyncio.sleep(0)
            token = look.scan.files.get(change.name)
            self._apply(change, token.text if token else "", few=few)
        if look.scan.readable:
            self._take_missing(look.scan)

    def _apply(self, change: spec_folder.Change, version: str, *, few: bool) -> None:
        match change:
            case spec_folder.Accepted():
                self._accept(change, version, urgent=few or change.trusted)
            case spec_folder.Rejected():
                self._reject(change, version)
            case spec_folder.Touched(name=name, author=author):
                self._poke(name, version, author)
            case spec_folder.Removed(name=name, author=author):
                self._missing[name] = author

    def _accept(self, change: spec_folder.Accepted, version: str, *, urgent: bool) -> None:
        name, accepted, before = change.name, change.spec, self._ledgers.get(change.name)
        ledger = self._ledgers.accept(name, accepted)
        project = self.projects.setdefault(name, Project(name=name))
        self._judged(change, before, ledger, known=bool(project.desired.version))
        changed = project.desired.spec is not None and project.desired.spec != accepted
        project.desired = Desired(spec=accepted, version=version)
        log.info("spec accepted", project=name, generation=ledger.generation, state=accepted.state)
        self._events.publish(SpecChanged(name, urgent=urgent, replaced=changed))

    def _judged(self, change: spec_folder.Accepted, before: Ledger | None, now: Ledger, *, known: bool) -> None:
        """Publish what an accepted spec changes; nothing when a controller begins and finds what it left."""
        old = before.spec if before else {}
        returned = before is not None and before.vanished
        if not known and not returned and old and before and before.generation == now.generation:
            return
        changes = (
            history.diff(old, now.spec)
            if old
            else history.diff({}, change.spec.model_dump(mode="json", exclude_defaults=True))
        )
        same = "accepted: it says the same as before"
        self._events.publish(
            SpecJudged(
                name=change.name,
                reason=Reason.SPEC_RETURNED if returned else Reason.SPEC_ACCEPTED,
                message="accepted: a new project" if not old else "accepted" if changes else same,
                author=change.author,
                generation=now.generation,
                changes=changes,
            )
        )

    def _reject(self, change: spec_folder.Rejected, version: str) -> None:
        """Keep the last accepted spec in force and say what is wrong with the file."""
        name, message = change.name, change.message
        project = self._restore(name)
        author, generation = change.author, self._generation(name)
        self._events.publish(
            SpecJudged(name=name, reason=Reason.SPEC_INVALID, message=message, author=author, generation=generation)
        )
        problem = Note(reason=Reason.SPEC_INVALID, message=message, stalled=True)
        project.desired = replace(project.desired, version=version, problem=problem)
        log.warning("spec rejected", project=name, reason=message)
        self._events.publish(SpecChanged(name, urgent=True))

    def _generation(self, name: str) -> int:
        ledger = self._ledgers.get(name)
        return ledger.generation if ledger else 0

    def _poke(self, name: str, version: str, author: Author) -> None:
        """Reconcile now: the same text was written again, or the file was touched."""
        if project := self.projects.get(name):
            reason, message = Reason.RECONCILE_REQUESTED, "its file was touched, or the same was written again"
            generation = self._generation(name)
            self._events.publish(
                SpecJudged(name=name, reason=reason, message=message, author=author, generation=generation)
            )
            project.desired = replace(project.desired, version=version, asked=True)
            self._events.publish(SpecChanged(name, urgent=True))

    def _restore(self, name: str) -> Project:
        """Return the project with its last accepted spec in force."""
        project = self.projects.setdefault(name, Project(name=name))
        if project.desired.spec is None:
            project.desired = replace(project.desired, spec=missing.last_accepted(self._ledgers.get(name)))
        return project

    # -- missing files ---------------------------------------------------------------------------------------------

    def _take_missing(self, scan: spec_folder.Scan) -> None:
        there = scan.files.keys() | scan.unusable.keys()
        gone = self._ledgers.names(but=there) | (self.projects.keys() - there)
        self._missing = {name: author for name, author in self._missing.items() if name in gone}
        if pending := gone - self._missing.keys():
            if self._folder.expect(pending):  # a sandbox that was put back
                self.rescan()
            return  # more are on their way out: they are judged together
        verdict = missing.judge(len(there & self.projects.keys()), {name: self._what_is_known(name) for name in gone})
        self._held = frozenset(verdict.hold)
        for name in verdict.forget:
            self.forget(name)
        for name in (*verdict.stop, *(name for name in verdict.stopped if name not in self.projects)):
            self._stop_missing(name)
        for name in verdict.hold:
            self._hold_missing(name, verdict)

    def _what_is_known(self, name: str) -> Missing:
        ledger = self._ledgers.get(name)
        if ledger is None or not ledger.spec:
            return Missing(remembered=False)
        if ledger.vanished:
            return Missing(remembered=True, stopped=True)
        confirmed = tombstones.missing_confirmed(self._settings.home, name)
        return Missing(remembered=True, confirmed=confirmed, held=name in self._held)

    def _stop_missing(self, name: str) -> None:
        spec = self._restore(name).desired.spec
        if spec is None:
            return
        before = self._ledgers.get(name)
        generation = self._ledgers.update(name, vanished=True).generation
        tombstones.forget_confirmation(self._settings.home, name)
        message = f"{self._settings.specs / name}.yaml is missing: stopped, and everything is kept"
        warning = f"{message}; to delete it for good: opencode-manager destroy {name}"
        if before is None or not before.vanished:  # else an earlier controller has said so
            author = self._missing.get(name, Author(Via.FILE))
            reason = Reason.SPEC_VANISHED
            self._events.publish(
                SpecJudged(name=name, reason=reason, message=message, author=author, generation=generation)
            )
        self.projects[name].desired = Desired(spec=missing.stopped(spec), warnings=(warning,))
        log.warning("spec vanished", project=name)
        self._events.publish(SpecChanged(name, urgent=True, replaced=True))

    def _hold_missing(self, name: str, verdict: Decision) -> None:
        project = self._restore(name)
        problem = Note(reason=Reason.SPEC_MISSING, message=verdict.why_held(name), stalled=True)
        if project.desired.problem != problem:
            project.desired = replace(project.desired, problem=problem, version="")
            log.warning("specs vanished at once", project=name, missing=len(verdict.hold), before=verdict.before)
            self._events.publish(SpecChanged(name))
