"""What holds a project up, what waits, and what is decided about a service that answers oddly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.actions import StartService, StopService
from reconciler.core.observed import Health, ObservedService, Phase, Probe, Service
from reconciler.core.plan import make_plan, no_recipe
from reconciler.engines.local.actions import ReservePort
from reconciler.engines.local.facts import ConfinementFacts, LocalService, ToolchainFacts
from tests.unit.worlds import NOW, converged, exited, ledger, make_spec, running, view


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (Health.CONFIG_INVALID, "ConfigInvalid"),
        (Health.UNPROTECTED, "Unprotected"),
        (Health.REFUSING, "AuthFailed"),
    ],
)
def test_an_agent_that_answers_wrongly_is_left_running_and_shown(health: Health, reason: str) -> None:
    """Only its user can fix that; it is observed again after 10 s."""
    agent = running(probe=Probe(health=health, at=NOW.boot, at_wall=NOW.wall, detail="it says so"))

    plan = make_plan(view(facts=converged(agent=agent)))

    assert plan.actions == ()
    assert plan.hold is not None
    assert (plan.hold.reason, plan.hold.message, plan.hold.after) == (reason, "it says so", 10.0)


def test_a_wedged_service_that_must_not_be_restarted_is_shown_with_the_way_out() -> None:
    """With restart.policy never, ending it would leave nothing."""
    silent = Probe(health=Health.UNRESPONSIVE, at=NOW.boot, at_wall=NOW.wall, misses=9, quiet_since=NOW.boot - 90)
    facts = converged(agent=running(probe=silent))

    kept = make_plan(view(make_spec(restart={"policy": "never"}), facts))
    ended = make_plan(view(facts=facts))

    assert kept.actions == ()
    assert kept.hold is not None
    assert kept.hold.reason == "Wedged"
    assert "end that with: opencode-manager restart" in kept.hold.message
    assert [type(action) for action in ended.actions] == [StopService, StartService]


@pytest.mark.parametrize(
    ("agent", "held"), [(exited(asked=True), True), (running(), False), (running(digest="old"), True)]
)
def test_an_agent_that_must_be_confined_and_cannot_be_is_not_started(agent: LocalService, *, held: bool) -> None:
    """One that runs goes on, until it were to be started again."""
    facts = converged(confinement=ConfinementFacts(problem="cannot confine the agent: why"), agent=agent)

    plan = make_plan(view(facts=facts))

    assert (plan.hold is not None and plan.hold.reason == "ConfinementUnavailable") is held
    assert not any(isinstance(action, StartService) for action in plan.actions)


def test_a_toolchain_that_cannot_be_used_holds_everything_after_it() -> None:
    """Its own sentence is shown."""
    facts = converged(toolchain=ToolchainFacts(problem="cannot run /bin/opencode"), agent=exited(asked=True))

    plan = make_plan(view(facts=facts))

    assert plan.hold is not None
    assert (plan.hold.reason, plan.hold.message) == ("ToolchainInvalid", "cannot run /bin/opencode")


def test_a_picked_port_that_was_taken_before_its_first_use_is_picked_again() -> None:
    """Nobody was given the old one, so another does as well; the service starts in a later pass."""
    fresh = LocalService(phase=Phase.NEVER, wanted_digest="d", port_holder="pid 7 (nginx)")

    plan = make_plan(view(facts=converged(agent=fresh)))

    assert [(type(action), action.cause) for action in plan.actions] == [
        (ReservePort, "port 4101 was taken before it was ever used")
    ]


@pytest.mark.parametrize(
    ("ended", "cause"),
    [
        ({"asked": True}, "running is wanted"),
        ({"run_id": "waived"}, "running is wanted again"),
        ({"boot_id": "other-boot"}, "the machine was restarted"),
    ],
)
def test_the_cause_of_a_start_is_the_true_one(ended: dict[str, Any], cause: str) -> None:
    """None of these waits for a back-off."""
    record = replace(ledger().restart(Service.AGENT), waived="waived", streak=5, not_before=NOW.boot + 60)

    plan = make_plan(view(facts=converged(agent=exited(**ended)), ledger=ledger(restarts={"agent": record})))

    assert [(type(action), action.cause) for action in plan.actions] == [(StartService, cause)]


def test_a_changed_input_starts_a_crashed_service_without_delay() -> None:
    """It may well be the fix."""
    record = replace(ledger().restart(Service.AGENT), streak=5, not_before=NOW.boot + 60, boot_id=NOW.boot_id)
    agent = replace(exited(), digest="old")

    plan = make_plan(view(facts=converged(agent=agent), ledger=ledger(restarts={"agent": record})))

    assert [action.cause for action in plan.actions] == ["what it is started with has changed"]


def test_one_service_of_a_project_can_be_replaced() -> None:
    """The other stays as it is."""
    facts = converged()

    for service in Service:
        other = facts.with_service(service, exited())
        assert (other.service(service).phase, len({other.agent.phase, other.bridge.phase})) == (Phase.EXITED, 2)


def test_an_engine_without_steps_of_its_own_starts_services_at_once() -> None:
    """Nothing of the local engine is in the core's plan; and such an engine has no details to show."""
    fresh = ObservedService(phase=Phase.NEVER)
    facts = replace(converged(), agent=fresh, bridge=fresh)

    plan = make_plan(view(facts=facts, recipe=no_recipe))

    assert [type(action) for action in plan.actions] == [StartService, StartService]
    assert (dict(fresh.details), fresh.address) == ({}, None)
