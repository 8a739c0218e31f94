"""The plan against a model of the world: any order of wishes, faults and time, found by Hypothesis.

Belongs here: a world without processes, in which the planned actions are done as the engine does them, and what must
hold in it. The same promises are kept on real processes by the rest of the battery.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Step
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from reconciler import actions, restarts
from reconciler.facts import (
    EnvFacts,
    Exit,
    Health,
    Ledger,
    Now,
    Phase,
    Probe,
    ProjectFacts,
    RepoFacts,
    Service,
    ServiceFacts,
    ToolchainFacts,
)
from reconciler.plan import View, make_plan
from reconciler.spec import State
from tests.pure.worlds import URL, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.plan import Plan
    from tests.support.scoreboard import Score

SERVICES = st.sampled_from(list(Service))
REST = 200
"""Passes within which everything must have come to rest, each after the wait that was asked for."""


class World(RuleBasedStateMachine):
    """One project, its spec, and what there is of it."""

    tries = 0

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, Any] = {}
        self.facts = ProjectFacts(name="app", env=EnvFacts(path="/.env", exists=True))
        self.ledger = Ledger(uid="u")
        self.now = Now(boot=1000.0, boot_id="boot-0", wall=0.0)
        self.runs = 0
        self.dirty = False
        self.strangers: set[Service] = set()
        World.tries += 1

    # -- wishes ----------------------------------------------------------------------------------------------------

    @rule(state=st.sampled_from(list(State)), policy=st.sampled_from(["always", "on-failure", "never"]))
    def wish(self, state: State, policy: str) -> None:
        self.fields |= {"state": state.value, "restart": {"policy": policy}}

    @rule(said=st.booleans())
    def discard(self, said: bool) -> None:
        self.fields["discard_unpushed"] = said

    @rule(stamp=st.integers(0, 3))
    def change_input(self, stamp: int) -> None:
        self.fields["restarted_at"] = f"2026-01-01T00:00:0{stamp}Z"

    # -- faults ----------------------------------------------------------------------------------------------------

    @rule(service=SERVICES, code=st.sampled_from([0, 1, None]))
    def leader_ends(self, service: Service, code: int | None) -> None:
        if self.seen(service).phase is Phase.RUNNING:
            self.put(service, phase=Phase.EXITED, exit=self.ended(service, code, asked=False), pid=None)

    @rule(service=SERVICES)
    def keeper_dies(self, service: Service) -> None:
        if self.seen(service).phase is Phase.RUNNING:
            self.put(service, phase=Phase.ORPHANED)

    @rule(service=SERVICES)
    def leader_dies_and_leaves_children(self, service: Service) -> None:
        if self.seen(service).phase is Phase.ORPHANED:
            self.put(service, pid=None)

    @rule(service=SERVICES, idle=st.booleans())
    def falls_silent(self, service: Service, idle: bool) -> None:
        if self.seen(service).ready:
            quiet = self.now.boot if idle else None
            silent = Probe(health=Health.UNRESPONSIVE, misses=3, quiet_since=quiet, at=self.now.boot)
            self.put(service, probe=silent)

    @rule(service=SERVICES, there=st.booleans())
    def stranger(self, service: Service, there: bool) -> None:
        if there and not self.seen(service).alive:
            self.strangers.add(service)
        else:
            self.strangers.discard(service)

    @rule(dirty=st.booleans())
    def work(self, dirty: bool) -> None:
        self.dirty = dirty

    @rule()
    def clone_is_deleted(self) -> None:
        self.facts = replace(self.facts, repo=RepoFacts())

    @rule()
    def reboot(self) -> None:
        self.now = replace(self.now, boot=5.0, boot_id=f"{self.now.boot_id}+")
        for service in Service:
            if self.seen(service).alive:
                old = Exit(run_id=self.seen(service).run_id, boot_id="an earlier boot")
                self.put(service, phase=Phase.EXITED, exit=old, pid=None)

    @rule(seconds=st.floats(0.1, 500))
    def time_passes(self, seconds: float) -> None:
        """And whoever is silent is asked meanwhile."""
        self.now = replace(self.now, boot=self.now.boot + seconds)
        for service in Service:
            if (probe := self.seen(service).probe).quiet_since is not None:
                self.put(service, probe=replace(probe, at=self.now.boot))

    @rule(seconds=st.floats(100, 500))
    def the_controller_stands_still(self, seconds: float) -> None:
        """Nobody is asked, and so nobody is found wedged."""
        before = [action.text for action in self.plan().actions if getattr(action, "wedged", False)]
        self.now = replace(self.now, boot=self.now.boot + seconds)

        assert [action.text for action in self.plan().actions if getattr(action, "wedged", False)] in (before, [])

    # -- the controller --------------------------------------------------------------------------------------------

    @rule()
    def one_pass(self) -> None:
        self.do(self.plan())

    @rule()
    def come_to_rest(self) -> None:
        """With time and nothing else, it ends as wanted or says why not."""
        for service in Service:
            if self.seen(service).probe.quiet_since is None and self.seen(service).alive:
                self.put(service, probe=Probe(health=Health.READY))  # it was only busy
        for _ in range(REST):
            plan = self.plan()
            self.do(plan)
            if not plan.actions and (plan.hold is None or plan.hold.stalled):
                break
            if plan.hold is not None:
                self.time_passes(plan.hold.after + 0.1)
        else:
            raise AssertionError(f"no rest: {plan}")
        wanted = make_spec(**self.fields).wanted
        both = [self.seen(service) for service in Service]
        if wanted is State.RUNNING:
            assert plan.hold is not None or all(facts.ready for facts in both), plan
        elif plan.hold is None:
            assert not any(facts.alive for facts in both)
            assert wanted is State.STOPPED or not self.facts.sandbox

    @rule()
    def everything_is_mended(self) -> None:
        """Without faults, wanted to run and given time, it is ready: no history makes it dead for ever."""
        self.strangers.clear()
        self.dirty = False
        self.fields |= {"state": State.RUNNING.value, "restart": {"policy": "always"}}
        for service in Service:
            if self.seen(service).alive:
                self.put(service, probe=Probe(health=Health.READY))
        for _ in range(REST):
            plan = self.plan()
            self.do(plan)
            if not plan.actions and plan.hold is None:
                break
            if plan.hold is not None:
                self.time_passes(plan.hold.after + 0.1)
        else:
            raise AssertionError(f"never ready: {plan}")
        assert all(self.seen(service).ready for service in Service), self.facts

    def teardown(self) -> None:
        self.everything_is_mended()

    def plan(self) -> Plan:
        """What a pass decides: as the reconciler looks, counts and plans."""
        spec = make_spec(**self.fields)
        for service in Service:
            facts = replace(
                self.seen(service),
                wanted_digest=spec.restarted_at or "first",
                port_holder="pid 7 (nginx)" if service in self.strangers and not self.seen(service).alive else "",
            )
            self.facts = self.facts.with_service(service, facts)
        losses = (("1 file is not committed",) if self.dirty else ()) if self.facts.repo.cloned else None
        looked = losses if spec.wanted is State.ABSENT else None
        self.facts = replace(self.facts, repo=replace(self.facts.repo, losses=looked))
        self.account(spec)
        view = View(spec=spec, facts=self.facts, ledger=self.ledger, now=self.now)
        assert make_plan(view) == make_plan(view)
        return make_plan(view)

    def account(self, spec: Any) -> None:
        records = dict(self.ledger.restarts)
        for service in Service:
            if self.seen(service).phase is Phase.EXITED:
                before = self.ledger.restart(service)
                record = restarts.account(before, self.seen(service).exit, spec.restart.policy, self.now)
                assert record.count >= before.count
                records[service.value] = restarts.waive(record) if spec.wanted is State.STOPPED else record
        self.ledger = replace(self.ledger, restarts=records)

    def do(self, plan: Plan) -> None:
        for action in plan.actions:
            DEEDS[type(action)](self, action)

    # -- what actions do -------------------------------------------------------------------------------------------

    def start(self, action: actions.StartService) -> None:
        assert not self.seen(action.service).alive, "a second copy"
        assert make_spec(**self.fields).wanted is State.RUNNING
        assert self.facts.repo.cloned
        self.runs += 1
        self.put(
            action.service,
            phase=Phase.RUNNING,
            run_id=f"run-{self.runs}",
            pid=self.runs,
            digest=self.seen(action.service).wanted_digest,
            started=self.now.boot,
            exit=None,
            probe=Probe(health=Health.READY),
        )

    def stop(self, action: actions.StopService) -> None:
        self.put(action.service, phase=Phase.EXITED, exit=self.ended(action.service, None, asked=True), pid=None)

    def adopt(self, action: actions.AdoptService) -> None:
        assert self.seen(action.service).pid is not None, "nobody to adopt"
        self.put(action.service, phase=Phase.RUNNING)

    def trash(self, _action: actions.MoveToTrash) -> None:
        spec = make_spec(**self.fields)
        assert spec.wanted is State.ABSENT, "moved away unasked"
        assert not any(self.seen(service).alive for service in Service), "moved away under living processes"
        assert spec.discard_unpushed or not (self.dirty and self.facts.repo.cloned), "work is lost"
        self.facts = ProjectFacts(name="app", env=EnvFacts(path="/.env", exists=True))
        self.ledger = Ledger(uid="another")

    # -- small things ----------------------------------------------------------------------------------------------

    def seen(self, service: Service) -> ServiceFacts:
        return self.facts.service(service)

    def put(self, service: Service, **changes: Any) -> None:
        self.facts = self.facts.with_service(service, replace(self.seen(service), **changes))

    def ended(self, service: Service, code: int | None, *, asked: bool) -> Exit:
        lived = max(0.0, self.now.boot - (self.seen(service).started or self.now.boot))
        return Exit(
            run_id=self.seen(service).run_id,
            code=code,
            signal=9 if code is None else None,
            asked=asked,
            at=self.now.boot,
            boot_id=self.now.boot_id,
            lived=lived,
        )


def _made(**changes: Any) -> Callable[[World, Any], None]:
    def deed(world: World, _action: Any) -> None:
        world.facts = replace(world.facts, **changes)

    return deed


def _reserve(world: World, action: actions.ReservePort) -> None:
    world.strangers.discard(action.service)  # another port is picked
    world.ledger = replace(world.ledger, ports={**world.ledger.ports, action.service.value: 4100 + len(action.service)})


DEEDS: dict[type[actions.Action], Callable[[World, Any], None]] = {
    actions.PrepareSandbox: _made(sandbox=True, prepared=True),
    actions.CloneRepo: _made(repo=RepoFacts(cloned=True, url=URL)),
    actions.ProvideToolchain: _made(toolchain=ToolchainFacts(path="/bin/opencode")),
    actions.RemoveSpec: _made(removable_spec=False),
    actions.ReservePort: _reserve,
    actions.StartService: World.start,
    actions.StopService: World.stop,
    actions.AdoptService: World.adopt,
    actions.MoveToTrash: World.trash,
}


@pytest.mark.xdist_group("model")
def test_the_plan_in_a_model_of_the_world(score: Score) -> None:
    """The plan in a model of the world: any order of wishes, faults and time rests as wanted, and mended is ready."""
    examples = len(score.times(200, 5000))
    World.tries = 0
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
