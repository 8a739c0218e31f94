"""The reconciler in a model of the world: any order of changed specs, faults and time, found by Hypothesis.

The reconciler, its plan, ledgers and status are the real ones; the machine is a fake engine in memory, which checks
each action as it is performed. The same promises are kept on real processes by the rest of the battery.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Step
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from reconciler.controller.project import Desired, Project
from reconciler.controller.reconciler import Reconciler
from reconciler.core import actions
from reconciler.core.actions import Action, Blocked, Retry
from reconciler.core.observed import Health, ObservedProject, Phase, Probe, Service
from reconciler.core.plan import Plan
from reconciler.core.reasons import Reason
from reconciler.core.spec import State
from reconciler.engines.base import Events
from reconciler.engines.local import actions as local
from reconciler.settings import Home, Settings
from reconciler.state.ledger import Ledgers
from tests.support.fake_engine import FakeEngine, FakeTombstones, Machine
from tests.unit.worlds import make_spec

if TYPE_CHECKING:
    from reconciler.core.observed import RestartRecord
    from reconciler.core.spec import Spec
    from reconciler.engines.local.facts import LocalService
    from tests.support.scoreboard import Score

NAME = "app"
SERVICES = st.sampled_from(list(Service))
REST = 200
"""Passes within which everything must have come to rest, each after the wait that was asked for."""
FALLIBLE = (local.GenerateKey, local.CloneRepo, local.CheckoutRef, local.ProvideToolchain, actions.StopService)


class World(RuleBasedStateMachine):
    """One project, its spec, and what there is of it."""

    tries: ClassVar[int] = 0
    performed: ClassVar[set[type[Action]]] = set()

    def __init__(self) -> None:
        super().__init__()
        World.tries += 1
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        home = Home(Path(self._folder.name))
        self.clock = 1000.0
        self.fields: dict[str, Any] = {}
        self.ledgers = Ledgers(home)
        self.events = Events()
        self.engine = FakeEngine(self.ledgers, lambda: self.clock, self.events)
        self.tombstones = FakeTombstones()
        configured = Settings(home=home, specs=home.root, development=True)
        self.reconciler = Reconciler(self.engine, self.ledgers, self.tombstones, self.events, configured)
        self.project = Project(name=NAME)
        self.counts: dict[str, RestartRecord] = {}
        self.accept()

    def teardown(self) -> None:
        """Whatever happened: it becomes ready, survives its keeper and the controller, and can be destroyed."""
        self.every_fault_is_gone()
        self.engine.kill_keeper(NAME, Service.AGENT)
        self.another_controller()
        self.change_ref("v3")
        assert self.rests(ready=True)
        self.accept(state=State.ABSENT.value)
        self.rests(ready=True)
        assert self.tombstones.removed, "without faults and unpushed work, it cannot be destroyed"
        World.performed |= {type(done.action) for done in self.engine.done}
        World.performed |= {actions.RemoveSpec} if self.tombstones.removed else set()
        self._loop.close()
        self._folder.cleanup()

    # -- specs -----------------------------------------------------------------------------------------------------

    def accept(self, **fields: Any) -> None:
        self.fields |= fields
        spec = make_spec(**self.fields)
        self.tombstones.there = True
        self.ledgers.accept(NAME, spec)
        self.project.desired = Desired(spec=spec)

    @rule(state=st.sampled_from(list(State)), policy=st.sampled_from(["always", "on-failure", "never"]))
    def change_state(self, state: State, policy: str) -> None:
        self.accept(state=state.value, restart={"policy": policy})

    @rule(said=st.booleans())
    def discard_unpushed(self, said: bool) -> None:
        self.accept(discard_unpushed=said)

    @rule(stamp=st.integers(0, 3))
    def restart(self, stamp: int) -> None:
        self.accept(restarted_at=f"2026-01-01T00:00:0{stamp}Z")

    @rule(ref=st.sampled_from([None, "main", "v2"]))
    def change_ref(self, ref: str | None) -> None:
        self.accept(git={"url": make_spec().git.url, "ref": ref})

    @rule(port=st.sampled_from([None, 4150, 4151]))
    def fix_port(self, port: int | None) -> None:
        self.accept(agent={"port": port})

    # -- faults ----------------------------------------------------------------------------------------------------

    @rule(service=SERVICES, code=st.sampled_from([0, 1, None]), leaves=st.booleans())
    def leader_exits(self, service: Service, code: int | None, leaves: bool) -> None:
        if self.seen(service).phase is Phase.RUNNING:
            self.engine.exit(NAME, service, code, leaves=leaves)

    @rule(service=SERVICES, leader_too=st.booleans())
    def keeper_dies(self, service: Service, leader_too: bool) -> None:
        if self.seen(service).phase is Phase.RUNNING:
            self.engine.kill_keeper(NAME, service)
            if leader_too:  # and leaves children
                self.machine.services[service] = replace(self.seen(service), pid=None)

    @rule(service=SERVICES, idle=st.booleans())
    def falls_silent(self, service: Service, idle: bool) -> None:
        if self.seen(service).ready:
            quiet = self.clock if idle else None
            silent = Probe(health=Health.UNRESPONSIVE, misses=3, quiet_since=quiet, at=self.clock)
            self.engine.probe(NAME, service, silent)

    @rule(service=SERVICES, health=st.sampled_from([Health.CONFIG_INVALID, Health.UNPROTECTED, Health.REFUSING]))
    def answers_wrongly(self, service: Service, health: Health) -> None:
        if self.seen(service).ready:
            self.engine.probe(NAME, service, Probe(health=health, at=self.clock))

    @rule(service=SERVICES, ready=st.booleans())
    def never_ready(self, service: Service, ready: bool) -> None:
        (self.machine.never_ready.discard if ready else self.machine.never_ready.add)(service)

    @rule(service=SERVICES, there=st.booleans())
    def stranger_on_the_port(self, service: Service, there: bool) -> None:
        if there and not self.seen(service).alive:
            self.machine.strangers.add(service)
        else:
            self.machine.strangers.discard(service)

    @rule(kind=st.sampled_from(FALLIBLE), blocked=st.booleans())
    def an_action_fails(self, kind: type[Action], blocked: bool) -> None:
        failure = (
            Blocked(reason=Reason.WAITING_FOR_KEY, message="a person must act")
            if blocked
            else Retry(reason=Reason.GIT_FAILED, message="-")
        )
        self.engine.outcomes.setdefault(kind, []).append(failure)

    @rule(unpushed=st.booleans())
    def work(self, unpushed: bool) -> None:
        self.machine.unpushed = unpushed

    @rule(what=st.sampled_from(["cloned_from", "key", "secrets", "toolchain"]))
    def a_file_is_deleted(self, what: str) -> None:
        setattr(self.machine, what, type(getattr(self.machine, what))())

    @rule()
    def reboot(self) -> None:
        self.clock = 5.0
        self.engine.reboot()

    @rule()
    def another_controller(self) -> None:
        """Everything the controller holds between passes is lost."""
        self.project = Project(name=NAME, desired=Desired(spec=self.project.desired.spec))
        self.engine.forget_probes()

    @rule(seconds=st.floats(0.1, 500))
    def time_passes(self, seconds: float) -> None:
        """Let time pass, in which who is silent is probed and keepers end what is left."""
        self.clock += seconds
        for service in Service:
            self.engine.empty(NAME, service)
            if (probe := self.seen(service).probe).quiet_since is not None:
                self.engine.probe(NAME, service, replace(probe, at=self.clock))

    @rule(seconds=st.floats(100, 500))
    def the_controller_stands_still(self, seconds: float) -> None:
        """Nobody is probed meanwhile, so nobody is found wedged."""
        before = self.wedged()
        self.clock += seconds

        assert self.wedged() in (before, [])

    # -- the controller --------------------------------------------------------------------------------------------

    @rule()
    def one_pass(self) -> None:
        self.reconcile()

    def reconcile(self) -> float:
        after = self._loop.run_until_complete(self.reconciler.run(self.project)).after
        self.forget_if_destroyed()
        self.no_count_went_down()
        return after

    @rule()
    def come_to_rest(self) -> None:
        """With time and nothing else it ends as desired, or says why not; then nothing more is planned."""
        for service in Service:
            if self.seen(service).probe.quiet_since is None and self.seen(service).alive:
                self.engine.probe(NAME, service, Probe(health=Health.READY, at=self.clock))  # it was only busy
        if not self.rests():
            raise AssertionError(f"no rest: {self.project.status}")
        if self.project.status is None or not self.project.status.ready.status:
            return
        alive = [service for service in Service if self.seen(service).alive]
        assert alive == (list(Service) if self.spec.wanted is State.RUNNING else [])
        assert self._loop.run_until_complete(self.reconciler.compute_plan(self.project, self.spec)) == Plan()

    @rule()
    def every_fault_is_gone(self) -> None:
        """Without faults, desired to run and given time, it is ready: no history makes it dead for ever."""
        self.engine.outcomes.clear()
        self.machine.strangers.clear()
        self.machine.never_ready.clear()
        self.machine.unpushed = False
        for service in Service:
            if self.seen(service).alive:
                self.engine.probe(NAME, service, Probe(health=Health.READY, at=self.clock))
        self.accept(state=State.RUNNING.value, restart={"policy": "always"})

        assert self.rests(ready=True), f"never ready: {self.project.status}"
        assert all(self.seen(service).ready for service in Service), self.machine

    # -- small things ----------------------------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        return self.engine.of(NAME)

    @property
    def spec(self) -> Spec:
        return make_spec(**self.fields)

    def seen(self, service: Service) -> LocalService:
        return self.engine.service(NAME, service)

    def rests(self, *, ready: bool = False) -> bool:
        for _ in range(REST):
            after = self.reconcile()
            status = self.project.status
            if status is None:
                return not ready  # it was destroyed
            if status.ready.status or (status.stalled.status and not ready):
                return True
            self.time_passes(after + 0.1)
        return False

    def wedged(self) -> list[str]:
        plan = self._loop.run_until_complete(self.reconciler.compute_plan(self.project, self.spec))
        return [action.text for action in plan.actions if getattr(action, "wedged", False)]

    def forget_if_destroyed(self) -> None:
        """What the loop does once nothing of a destroyed project is left."""
        attempt = self.project.attempt
        if self.spec.wanted is State.ABSENT and attempt.plan == Plan() and attempt.facts == ObservedProject(name=NAME):
            assert not self.machine.prepared, "a destroyed project's sandbox is still there"
            self.ledgers.forget(NAME)
            self.counts.clear()
            self.project = Project(name=NAME)
            self.accept(state=State.RUNNING.value)  # somebody starts a project of that name again

    def no_count_went_down(self) -> None:
        ledger = self.ledgers.get(NAME)
        now = dict(ledger.restarts) if ledger else {}
        if ledger:
            assert all(now[service].count >= record.count for service, record in self.counts.items() if service in now)
        self.counts = now


@pytest.mark.xdist_group("model")
def test_the_plan_in_a_model_of_the_world(score: Score) -> None:
    """The reconciler in a model of the world: any order of specs, faults and time rests as desired, or says why not."""
    examples = len(score.times(200, 5000))
    World.tries, World.performed = 0, set()
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Step.generate, Step.shrink],
        ),
    )
    score.tried(World.tries)
    ours = {kind for kind in Action.__subclasses__() if kind.__module__.startswith("reconciler.")}
    missing = ours - World.performed - {local.ApplyLimits}  # the model's machine has no kernel that could enforce any
    score.expect(not missing, f"never performed: {sorted(kind.__name__ for kind in missing)}")
