"""One pass over one project: look, plan, act, remember, say.

Belongs here: the contract of a pass. Does not belong here: when a pass runs (`loop`), what is decided (`plan`), or how
anything is seen or done (the engine).

A pass knows only the project's name and the spec in force; why it was called is not told. It goes on until nothing is
left to do, time must pass, or somebody must act; `Next` says which. It can be cancelled at any await and run again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from reconciler.controller.fingerprints import Edits
from reconciler.controller.workqueue import Slots
from reconciler.core import restarts, status
from reconciler.core.actions import (
    Blocked,
    CloneRepo,
    Done,
    GenerateKey,
    LookAgain,
    MoveToTrash,
    PrepareSandbox,
    RemoveSpec,
    Retry,
    StartService,
    StopService,
    WriteSecrets,
)
from reconciler.core.observed import Phase, ProjectFacts, Service
from reconciler.core.plan import SLOW_LOOK, Plan, View, make_plan
from reconciler.core.reasons import Reason
from reconciler.core.spec import State
from reconciler.core.status import Note, Sources
from reconciler.state.ledger import sync_files
from reconciler.system import failpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.core.actions import Action, Outcome
    from reconciler.core.observed import Ledger, Probe, RestartRecord, ServiceFacts
    from reconciler.core.spec import Spec
    from reconciler.engines.base import Engine
    from reconciler.settings import Settings
    from reconciler.state.ledger import Ledgers

ROUNDS: Final = 12
"""Times a pass looks again after acting before it counts as going in circles: the longest honest way takes five."""
PROBES: Final = 6
"""Of a service between two looks at everything of its project, when all is well: those cost three times as much."""
LOOKING: Final = 8
"""Projects looked at at once. Acting has limits of its own, so that a slow clone holds no place here."""
CHANGING: Final = (PrepareSandbox, WriteSecrets, GenerateKey, CloneRepo, MoveToTrash)
"""Actions that change what people edit, too."""
SYNC_AFTER: Final = 0.5
"""Seconds after which what was remembered is made to survive a power cut too, of all projects at once: that takes
longer than to survive us, and nobody shall wait for it, nor for the thread that does it."""


class Tombstones(Protocol):
    """What a pass may ask about the spec file of a project that is destroyed."""

    def look(self, name: str) -> tuple[bool, bool]:
        """Whether there is a file, and whether it is ours to remove."""

    def remove(self, name: str) -> None:
        """Move the file to the trash."""


@dataclass(kw_only=True)
class Project:
    """What the controller holds of one project between passes. Lost without loss: all of it is seen again."""

    name: str
    spec: Spec | None = None
    """In force: the last accepted one."""
    version: str = ""
    """Of the spec file as it is now."""
    spec_problem: Note | None = None
    """Why the file as it is now is not the spec in force."""
    warnings: tuple[str, ...] = ()
    facts: ProjectFacts = field(default_factory=lambda: ProjectFacts(name=""))
    plan: Plan = field(default_factory=Plan)
    note: Note | None = None
    seen_version: str = ""
    """Of the spec file when the last finished pass began."""
    settled: bool = False
    observed_generation: int = 0
    failures: int = 0
    """Passes in a row that ended in Retry."""
    retry_at: float = 0.0
    """CLOCK_BOOTTIME before which a failed pass is not repeated, whoever wakes it: what it ended wakes it too."""
    asked: bool = True
    """A person wants it looked at now: a new spec, a touched file, a tool call."""
    urgent: bool = False
    """Somebody waits for the pass in work: it overtakes the others."""
    working: bool = False
    """An action is being performed: what is said of it is no waiting."""
    published: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Next:
    """When to look at the project again by ourselves, in seconds."""

    after: float


class Reconciler:
    """Runs passes."""

    def __init__(
        self,
        engine: Engine,
        ledgers: Ledgers,
        tombstones: Tombstones,
        changed: Callable[[Project, bool], None],
        settings: Settings,
    ) -> None:
        self._engine = engine
        self._ledgers = ledgers
        self._tombstones = tombstones
        self._changed = changed
        self._settings = settings
        self._looking = Slots(LOOKING)
        self._syncing = False
        self.on_look: Callable[[str], None] = lambda _name: None
        """Called right before everything of a project is looked at."""
        self.edits = Edits(engine.fingerprint)

    async def run(self, project: Project) -> Next:
        """One pass. Raises nothing but what nobody foresaw."""
        project.working = False
        if project.spec is None:
            project.seen_version, project.asked = project.version, False
            self.publish(project)
            return Next(SLOW_LOOK)
        version, generation = project.version, self._ledger(project).generation
        if project.asked:
            project.asked, project.note, project.failures, project.retry_at = False, None, 0, 0.0
        elif (left := project.retry_at - self._engine.now().boot) > 0:
            await self._look(project, project.spec)
            self.publish(project)
            return Next(left)
        project.settled = project.settled and project.seen_version == version
        outcome = await self._converge(project, project.spec)
        project.seen_version, project.observed_generation = version, generation
        return await self._conclude(project, project.spec, outcome)

    async def dry_run(self, project: Project, spec: Spec) -> Plan:
        """What a pass would do now, without doing it."""
        await self._look(project, spec)
        return project.plan

    async def _converge(self, project: Project, spec: Spec) -> Outcome:
        """Look and act until something other than Done comes out, or nothing is left to do."""
        for _ in range(ROUNDS):
            await self._look(project, spec)
            if not project.plan.actions:
                return Done()
            project.working = True
            self.publish(project)
            outcome = await self._perform_all(project, spec)
            if outcome == Done() and isinstance(project.plan.actions[-1], RemoveSpec):
                # It is over: who makes a sandbox of this name from here on means another project.
                project.facts, project.plan = ProjectFacts(name=project.name), Plan()
                return outcome
            if outcome not in {Done(), LookAgain(after=0.0)} and not _ended(outcome):
                return outcome
        last = project.plan.actions[0]
        message = f"cannot finish: after {ROUNDS} tries there is still to do: {last.text}, because {last.cause}"
        return Retry(reason=Reason.NOT_CONVERGING, message=message)

    async def _look(self, project: Project, spec: Spec) -> None:
        ledger = self._ledger(project)
        async with self._looking.hold(0 if project.urgent else 1):
            self.on_look(project.name)
            facts = await self._engine.observe(project.name, spec, ledger)
        if spec.wanted is State.ABSENT:
            there, ours = await asyncio.to_thread(self._tombstones.look, project.name)
            facts = replace(facts, removable_spec=there and ours, spec_stays=there and not ours)
        ledger = self._account(project, spec, facts, ledger)
        view = View(
            spec=spec,
            facts=facts,
            ledger=ledger,
            now=self._engine.now(),
            development=self._settings.development,
            wedged_after=self._settings.wedged_after,
            ports=self._settings.ports,
        )
        project.facts, project.plan = facts, make_plan(view)

    def _account(self, project: Project, spec: Spec, facts: ProjectFacts, ledger: Ledger) -> Ledger:
        """Count the exits that were seen, before anything is done about them."""
        now, records = self._engine.now(), dict(ledger.restarts)
        for service in Service:
            if facts.service(service).phase is Phase.EXITED:
                ended = facts.service(service).exit
                record = restarts.account(ledger.restart(service), ended, spec.restart.policy, now)
                records[service.value] = restarts.waive(record) if spec.wanted is State.STOPPED else record
        return ledger if records == ledger.restarts else self._ledgers.update(project.name, restarts=records)

    async def _perform_all(self, project: Project, spec: Spec) -> Outcome:
        """The planned actions in order, up to the first that does not come out Done."""
        for action in project.plan.actions:
            outcome = await self._perform(project, spec, action)
            if not isinstance(outcome, Done):
                return outcome
            if project.note is not None and project.note.stalled:
                project.note = None  # it goes on again
        return Done()

    async def _perform(self, project: Project, spec: Spec, action: Action) -> Outcome:
        if isinstance(action, StopService) and action.wedged:
            # Before it: afterwards, perhaps to another controller, it looks like any stop that was asked for.
            self._count(project, action.service, restarts.wedged, project.facts.service(action.service).run_id)
        self._remember(project)
        failpoint.point(f"before:{type(action).__name__}")
        outcome = await self._change(project, spec, action)
        if isinstance(action, StartService) and isinstance(outcome, Retry) and outcome.run_id:
            how = partial(restarts.never_ready, cause=outcome.cause)
            self._count(project, action.service, how, outcome.run_id)
        failpoint.point(f"after:{type(action).__name__}")
        return outcome

    async def _change(self, project: Project, spec: Spec, action: Action) -> Outcome:
        """Do it, and tell what that changes from what people edit meanwhile, should it fail."""
        if not isinstance(action, CHANGING):
            return await self._do(project, spec, action)
        with self.edits.by_us(project.name):
            outcome = await self._do(project, spec, action)
        if isinstance(outcome, Done):
            self.edits.forgive(project.name)
        return outcome

    def _count(self, project: Project, service: Service, how: Callable[..., RestartRecord], run_id: str) -> None:
        """A run that we end because it is of no use counts like one that ended by itself."""
        ledger = self._ledger(project)
        seen = how(ledger.restart(service), run_id, self._engine.now())
        self._ledgers.update(project.name, restarts={**ledger.restarts, service.value: seen})

    async def _do(self, project: Project, spec: Spec, action: Action) -> Outcome:
        if isinstance(action, RemoveSpec):
            await asyncio.to_thread(self._tombstones.remove, project.name)
            return Done()

        def report(reason: Reason, message: str, seen: tuple[Service, ServiceFacts] | None = None) -> None:
            if seen is not None:
                project.facts = project.facts.with_service(*seen)
            # A slow retry of something that waits for a person does not make it look like progress.
            if project.note is None or not project.note.stalled:
                project.note = Note(reason=reason, message=message)
                self.publish(project)

        return await self._engine.perform(project.name, spec, action, report)

    async def _conclude(self, project: Project, spec: Spec, outcome: Outcome) -> Next:
        """The four-way switch: what the outcome means for the status and for the next look."""
        project.working = False
        match outcome:
            case Done():
                project.note, project.failures, project.settled = None, 0, True
                hold = project.plan.hold
                lives = project.facts.agent.alive or project.facts.bridge.alive
                after = hold.after if hold else PROBES * self._settings.liveness if lives else SLOW_LOOK
            case LookAgain(after=after, reason=reason, message=message):
                project.note = Note(reason=reason, message=message)
            case Retry(reason=reason, message=message):
                project.note = Note(reason=reason, message=message)
                after = max(restarts.BASE, restarts.delay(project.failures, f"{project.name}{project.failures}"))
                project.failures += 1
                project.retry_at = self._engine.now().boot + after
            case Blocked(reason=reason, message=message):
                project.note = Note(reason=reason, message=message, stalled=True)
                after = SLOW_LOOK
        if not isinstance(outcome, Done):
            await self._look(project, spec)
        self._remember(project)
        self.publish(project)
        return Next(after)

    def _remember(self, project: Project) -> None:
        """Write down what the next action builds upon, so that it survives us."""
        if self._ledgers.unsaved(project.name):
            self._ledgers.flush(project.name)
            if not self._syncing:
                self._syncing = True
                asyncio.get_running_loop().call_later(SYNC_AFTER, self._sync)

    def _sync(self) -> None:
        self._syncing = False
        asyncio.get_running_loop().run_in_executor(None, sync_files, self._ledgers.take_unsynced())

    def publish(self, project: Project) -> None:
        """Say how it stands."""
        ledger = self._ledgers.get(project.name)
        sources = Sources(
            name=project.name,
            spec=project.spec,
            facts=project.facts,
            ledger=ledger,
            plan=project.plan,
            settled=project.settled,
            observed_generation=project.observed_generation,
            note=project.note,
            spec_problem=project.spec_problem,
            spec_version=project.seen_version,
            sandbox=self._engine.describe(project.name),
            wall=self._engine.now().wall,
            warnings=project.warnings + ((loss,) if (loss := self._ledgers.loss(project.name)) else ()),
        )
        before, now = project.published, status.compute(sources, project.published).to_dict()
        project.published = now
        self._changed(project, status.timeless(before) != status.timeless(now))

    def refresh(self, project: Project, service: Service, probe: Probe) -> None:
        """A service was asked and is as it was."""
        project.facts = project.facts.with_service(service, replace(project.facts.service(service), probe=probe))
        if shown := project.published:
            seen = {**shown[service.value], "last_health_check": probe.at_wall}
            project.published = {**shown, service.value: seen}
            self._changed(project, False)

    def _ledger(self, project: Project) -> Ledger:
        ledger = self._ledgers.get(project.name)
        if ledger is None:
            if project.spec is None:
                raise AssertionError(f"{project.name} has no accepted spec")
            ledger = self._ledgers.accept(project.name, project.spec)
        return ledger


def _ended(outcome: Outcome) -> bool:
    return isinstance(outcome, LookAgain) and outcome.after == 0.0
