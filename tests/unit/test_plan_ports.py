"""Fixed ports and the ranges in force."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings

from reconciler.core import spec as specs
from reconciler.core.actions import StartService
from reconciler.core.observed import Phase, Service
from reconciler.core.plan import View, make_plan
from reconciler.engines.local.actions import ReservePort
from reconciler.engines.local.recipe import recipe
from tests.unit.worlds import converged, ledger, make_spec, running, view, views

RANGES = {"agent": (4981, 4989), "bridge": (5981, 5989)}


@pytest.mark.parametrize("kept", [{}, {"agent": 4101, "bridge": 5101}])
def test_a_port_outside_of_its_range_waits_for_a_person(kept: dict[str, int]) -> None:
    """A service that has a port keeps it and goes on; one without is not started."""
    facts = converged(agent=replace(running(), fixed_port=4500))
    if not kept:
        facts = converged(agent=replace(facts.agent, phase=Phase.NEVER))

    plan = make_plan(view(make_spec(agent={"port": 4500}), facts, ledger=ledger(ports=kept), ports=RANGES))

    assert plan.hold is not None
    assert (plan.hold.reason, plan.hold.stalled) == ("PortOutOfRange", True)
    assert plan.hold.message == (
        "cannot use port 4500: give one from 4981 to 4989 (agent.port of the spec), or move that range with "
        "OPENCODE_MANAGER_AGENT_PORTS"
    )
    assert [type(action) for action in plan.actions] == ([] if kept else [ReservePort])


def test_a_port_of_the_env_file_is_named_with_it() -> None:
    """So that the right file is edited."""
    plan = make_plan(view(facts=converged(bridge=replace(running(20, port=5101), fixed_port=6000)), ports=RANGES))

    assert plan.hold is not None
    assert "(MCP_TOOL_PORT in /sb/app/.env)" in plan.hold.message


def test_a_port_that_it_has_stays_when_the_range_moves() -> None:
    """An accepted spec never becomes wrong by a setting."""
    facts = converged(agent=replace(running(), fixed_port=4101))

    assert make_plan(view(make_spec(agent={"port": 4101}), facts, ports=RANGES)) == make_plan(view())


def test_stopping_and_destroying_ask_for_no_port() -> None:
    """The way out is always open."""
    for state in ("stopped", "absent"):
        spec = make_spec(state=state, agent={"port": 4500})
        plan = make_plan(view(spec, converged(agent=replace(running(), fixed_port=4500)), ports=RANGES))

        assert plan.hold is None or plan.hold.reason != "PortOutOfRange"


@given(views)
@settings(max_examples=40, database=None)
def test_nothing_is_started_without_a_port(any_view: View) -> None:
    """Whatever is asked for and whatever the ranges are: a start needs both ports kept or reserved before."""
    seen = replace(any_view, recipe=partial(recipe, development=True, ports=RANGES))
    plan = make_plan(seen)
    reserved = {action.service.value for action in plan.actions if isinstance(action, ReservePort)}

    if any(isinstance(action, StartService) for action in plan.actions):
        assert seen.ledger.ports.keys() | reserved == {"agent", "bridge"}


def test_validate_and_the_controller_agree() -> None:
    """The same ports are refused, in the same words."""
    spec = make_spec(agent={"port": 4500}, bridge={"port": 5985})
    facts = converged(
        agent=replace(running(), fixed_port=4500), bridge=replace(running(20, port=5101), fixed_port=5985)
    )

    [problem] = specs.misplaced(spec, RANGES)
    hold = make_plan(view(spec, facts, ports=RANGES)).hold

    assert problem.where == (Service.AGENT.value, "port")
    assert hold is not None
    assert hold.message.startswith(problem.message)
