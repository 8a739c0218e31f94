"""One pass over one project: observe, plan, act, remember, publish.

A pass knows only the project's name and the spec in force, not why it runs. It goes on until nothing is left to do,
time must pass, or a person must act; `Next` says which. It can be cancelled at any await and run again.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from reconciler.controller.events import ActionBegun, Observed, Observing, StatusAged, StatusChanged
from reconciler.controller.fingerprints import FingerprintTracker
from reconciler.controller.workqueue import PrioritySemaphore
from reconciler.core import restarts, status
from reconciler.core.actions import (
    Blocked,
    Done,
    RemoveSpec,
    RequeueAfter,
    Retry,
    StartService,
    StopService,
)
from reconciler.core.observed import ObservedProject, Phase, Service
from reconciler.core.plan import RESYNC_BLOCKED, Plan, View, make_plan
from reconciler.core.reasons import Reason
from reconciler.core.spec import State
from reconciler.core.status import Note, Remembered, Sources
from reconciler.engines.base import ActionProgressed
from reconciler.state.ledger import sync_files
from reconciler.system import failpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.controller.project import Project
    from reconciler.core.actions import Action, Outcome
    from reconciler.core.observed import Ledger, Probe, RestartRecord
    from reconciler.core.spec import Spec
    from reconciler.core.status import ProjectStatus
    from reconciler.engines.base import Engine, Events
    from reconciler.settings import Settings
    from reconciler.state.ledger import Ledgers

ROUNDS: Final = 12
"""Times a pass observes again after acting before it counts as going in circles: the longest honest way takes five."""
PROBES: Final = 6
"""Of a service between two full observations of its project, when all is well: those cost three times as much."""
MAX_OBSERVING: Final = 8
"""Projects observed at once. Acting has limits of its own, so that a slow clone holds no place here."""
SYNC_AFTER: Final = 0.5
"""Seconds after which what was remembered is made to survive a power cut too, of all projects at once: that takes
longer than to survive this process, and no pass waits for it, nor for the thread that does it."""


class TombstoneLookup(Protocol):
    """What a pass may ask about the spec file of a project that is destroyed."""

    def look(self, name: str) -> tuple[bool, bool]:
        """Return whether there is a file, and whether it is ours to remove."""

    def remove(self, name: str) -> None:
        """Move the file to the trash."""


@dataclass(frozen=True)
class Next:
    """When to reconcile the project again unasked, in seconds."""

    after: float


class Reconciler:
    """Runs passes."""

    def __init__(
        self,
        engine: Engine,
        ledgers: Ledgers,
        tombstones: TombstoneLookup,
        events: Events,
        settings: Settings,
        remembered: Mapping[str, Remembered] | None = None,
    ) -> None:
        self._engine = engine
        self._ledgers = ledgers
        self._tombstones = tombstones
        self._events = events
        self._settings = settings
        self._observing = PrioritySemaphore(MAX_OBSERVING)
        self._acting: dict[str, Project] = {}
        """Those on which an action is performed now."""
        events.subscribe(ActionProgressed, self._progressed)
        self._syncing = False
        self._remembered = dict(remembered or {})
        self.edits = FingerprintTracker(engine.fingerprint)

    async def run(self, project: Project, *, urgent: bool = False) -> Next:
        """Run one pass.

        Args:
            project: of which the attempt and the status are replaced.
            urgent: whether a person waits for it.

        Raises:
            OSError, UserError: it cannot be observed; anything else is a bug. See `failed`.
        """
        desired, spec = project.desired, project.desired.spec
        project.desired = replace(desired, asked=False)
        project.attempt = replace(project.attempt, working=False, urgent=urgent)
        if spec is None:
            project.attempt = replace(project.attempt, seen_version=desired.version)
            self.publish(project)
            return Next(RESYNC_BLOCKED)
        generation = self._ledger(project, spec).generation
        if desired.asked:
            project.attempt = replace(project.attempt, note=None, failures=0, retry_at=0.0)
        elif (left := project.attempt.retry_at - self._engine.now().boot) > 0:
            await self._observe(project, spec)
            self.publish(project)
            return Next(left)
        settled = project.attempt.settled and project.attempt.seen_version == desired.version
        project.attempt = replace(project.attempt, settled=settled)
        outcome = await self._converge(project, spec)
        project.attempt = replace(project.attempt, seen_version=desired.version, observed_generation=generation)
        return await self._conclude(project, spec, outcome)

    def failed(self, project: Project, message: str) -> Next:
        """Record a pass that ended with an exception, and say when to try again."""
        after = self._back_off(project, Note(reason=Reason.OBSERVE_FAILED, message=message))
        self.publish(project)
        return Next(after)

    async def compute_plan(self, project: Project, spec: Spec) -> Plan:
        """Return what a pass would do now, without doing it."""
        await self._observe(project, spec)
        return project.attempt.plan

    async def _converge(self, project: Project, spec: Spec) -> Outcome:
        """Observe and act until something other than Done comes out, or nothing is left to do."""
        for _ in range(ROUNDS):
            await self._observe(project, spec)
            planned = project.attempt.plan.actions
            if not planned:
                return Done()
            project.attempt = replace(project.attempt, working=True)
            self.publish(project)
            outcome = await self._perform_all(project, spec, planned)
            if outcome == Done() and isinstance(planned[-1], RemoveSpec):
                # It is over: a sandbox of this name that is made from here on belongs to another project.
                project.attempt = replace(project.attempt, facts=ObservedProject(name=project.name), plan=Plan())
                return outcome
            if outcome not in {Done(), RequeueAfter(after=0.0)} and not _ended(outcome):
                return outcome
        last = planned[0]
        message = f"cannot finish: after {ROUNDS} tries there is still to do: {last.text}, because {last.cause}"
        return Retry(reason=Reason.NOT_CONVERGING, message=message)

    async def _observe(self, project: Project, spec: Spec) -> None:
        ledger = self._ledger(project, spec)
        async with self._observing.hold(0 if project.attempt.urgent else 1):
            self._events.publish(Observing(project.name))
            facts = await self._engine.observe(project.name, spec, ledger)
        if spec.wanted is State.ABSENT:
            there, ours = await asyncio.to_thread(self._tombstones.look, project.name)
            facts = replace(facts, removable_spec=there and ours, spec_stays=there and not ours)
        before, ledger = ledger, self._account(project, spec, facts, ledger)
        self._events.publish(Observed(facts, before, ledger))
        view = View(
            spec=spec,
            facts=facts,
            ledger=ledger,
            now=self._engine.now(),
            wedged_after=self._settings.wedged_after,
            recipe=self._engine.recipe,
        )
        project.attempt = replace(project.attempt, facts=facts, plan=make_plan(view))

    def _account(self, project: Project, spec: Spec, facts: ObservedProject, ledger: Ledger) -> Ledger:
        """Count the exits that were seen, before anything is done about them."""
        now, records = self._engine.now(), dict(ledger.restarts)
        for service in Service:
            if facts.service(service).phase is Phase.EXITED:
                ended = facts.service(service).exit
                record = restarts.account(ledger.restart(service), ended, spec.restart.policy, now)
                records[service.value] = restarts.waive(record) if spec.wanted is State.STOPPED else record
        return ledger if records == ledger.restarts else self._ledgers.update(project.name, restarts=records)

    async def _perform_all(self, project: Project, spec: Spec, planned: tuple[Action, ...]) -> Outcome:
        """Perform the actions in order, up to the first that does not come out Done."""
        for action in planned:
            outcome = await self._perform(project, spec, action)
            if not isinstance(outcome, Done):
                return outcome
            if project.attempt.note is not None and project.attempt.note.stalled:
                project.attempt = replace(project.attempt, note=None)  # it goes on again
        return Done()

    async def _perform(self, project: Project, spec: Spec, action: Action) -> Outcome:
        """Perform one action; file changes that it makes itself are no edits, unless it fails."""
        if isinstance(action, StopService) and action.wedged:
            # Before it: afterwards, perhaps to another controller, it is a stop that was asked for like any other.
            run_id = project.attempt.facts.service(action.service).instance
            self._count(project, spec, action.service, partial(restarts.wedged, run_id=run_id))
        self._remember(project)
        self._events.publish(ActionBegun(project.name, action, self._ledger(project, spec).generation))
        failpoint.point(f"before:{type(action).__name__}")
        with self.edits.own_changes(project.name) if action.edits else nullcontext():
            if isinstance(action, RemoveSpec):
                await asyncio.to_thread(self._tombstones.remove, project.name)
                outcome: Outcome = Done()
            else:
                self._acting[project.name] = project
                try:
                    outcome = await self._engine.perform(project.name, spec, action)
                finally:
                    del self._acting[project.name]
        if action.edits and isinstance(outcome, Done):
            self.edits.accept(project.name)
        if isinstance(action, StartService) and isinstance(outcome, Retry) and outcome.run_id:
            how = partial(restarts.never_ready, run_id=outcome.run_id, cause=outcome.cause)
            self._count(project, spec, action.service, how)
        failpoint.point(f"after:{type(action).__name__}")
        return outcome

    def _progressed(self, event: ActionProgressed) -> None:
        """Publish what goes on while an action is performed."""
        project = self._acting.get(event.name)
        if project is None:
            return  # of an action that was cancelled
        attempt = project.attempt
        if event.seen is not None:
            project.attempt = attempt = replace(attempt, facts=attempt.facts.with_service(*event.seen))
        # A slow retry of something that waits for a person does not make it look like progress.
        if attempt.note is None or not attempt.note.stalled:
            project.attempt = replace(attempt, note=Note(reason=event.reason, message=event.message))
            self.publish(project)

    def _count(self, project: Project, spec: Spec, service: Service, how: Callable[..., RestartRecord]) -> None:
        """Count a run that we end because it is of no use like one that ended by itself."""
        ledger = self._ledger(project, spec)
        record = how(ledger.restart(service), now=self._engine.now())
        self._ledgers.update(project.name, restarts={**ledger.restarts, service.value: record})

    async def _conclude(self, project: Project, spec: Spec, outcome: Outcome) -> Next:
        """Turn the outcome into a status and the time of the next pass."""
        attempt = replace(project.attempt, working=False)
        match outcome:
            case Done():
                attempt = replace(attempt, note=None, failures=0, settled=True)
                hold = attempt.plan.hold
                lives = attempt.facts.agent.alive or attempt.facts.bridge.alive
                after = hold.after if hold else PROBES * self._settings.liveness if lives else RESYNC_BLOCKED
            case RequeueAfter(after=after, reason=reason, message=message):
                attempt = replace(attempt, note=Note(reason=reason, message=message))
            case Retry(reason=reason, message=message):
                after = self._back_off(project, Note(reason=reason, message=message))
                attempt = project.attempt
            case Blocked(reason=reason, message=message):
                attempt = replace(attempt, note=Note(reason=reason, message=message, stalled=True))
                after = RESYNC_BLOCKED
        project.attempt = attempt
        if not isinstance(outcome, Done):
            await self._observe(project, spec)
        self._remember(project)
        self.publish(project)
        return Next(after)

    def _back_off(self, project: Project, note: Note) -> float:
        """Put off the next try, each time for longer, with jitter; return the seconds until then."""
        failures = project.attempt.failures
        after = max(restarts.BASE, restarts.delay(failures, f"{project.name}{failures}"))
        retry_at = self._engine.now().boot + after
        project.attempt = replace(project.attempt, note=note, failures=failures + 1, retry_at=retry_at, working=False)
        return after

    def _remember(self, project: Project) -> None:
        """Write down what the next action builds upon, so that it survives this process."""
        if self._ledgers.unsaved(project.name):
            self._ledgers.flush(project.name)
            if not self._syncing:
                self._syncing = True
                asyncio.get_running_loop().call_later(SYNC_AFTER, self._sync)

    def _sync(self) -> None:
        self._syncing = False
        asyncio.get_running_loop().run_in_executor(None, sync_files, self._ledgers.take_unsynced())

    def publish(self, project: Project) -> None:
        """Compute the status and publish whether it has changed."""
        before, project.status = project.status, self._status(project)
        if before is not None and status.timeless(before) == status.timeless(project.status):
            self._events.publish(StatusAged(project.status))
        else:
            self._events.publish(StatusChanged(project.status))

    def refresh(self, project: Project, service: Service, probe: Probe) -> None:
        """Take up a probe that says that a service is as it was."""
        facts = project.attempt.facts
        seen = replace(facts.service(service), probe=probe)
        project.attempt = replace(project.attempt, facts=facts.with_service(service, seen))
        if project.status is not None:
            self.publish(project)

    def _status(self, project: Project) -> ProjectStatus:
        desired, attempt = project.desired, project.attempt
        damage = self._ledgers.damage(project.name)
        sources = Sources(
            name=project.name,
            spec=desired.spec,
            facts=attempt.facts,
            ledger=self._ledgers.get(project.name),
            plan=attempt.plan,
            settled=attempt.settled,
            observed_generation=attempt.observed_generation,
            note=attempt.note,
            spec_problem=desired.problem,
            spec_version=attempt.seen_version,
            sandbox=self._engine.describe(project.name),
            wall=self._engine.now().wall,
            warnings=(*desired.warnings, damage) if damage else desired.warnings,
            remembered=self._remembered.get(project.name, Remembered()),
        )
        if project.status is not None and attempt.facts.agent.probe.working is not None:
            self._remembered.pop(project.name, None)  # from here on the last status says since when
        return status.compute(sources, project.status)

    def _ledger(self, project: Project, spec: Spec) -> Ledger:
        return self._ledgers.get(project.name) or self._ledgers.accept(project.name, spec)


def _ended(outcome: Outcome) -> bool:
    return isinstance(outcome, RequeueAfter) and outcome.after == 0.0
