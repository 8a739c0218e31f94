"""The decision: facts in, actions out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from reconciler.core.actions import MoveToTrash, RemoveSpec, StartService, StopService
from reconciler.core.observed import (
    Health,
    ObservedProject,
    Phase,
    Probe,
    RestartRecord,
    Service,
)
from reconciler.core.plan import Plan, View, make_plan
from reconciler.core.spec import State
from reconciler.engines.local.actions import CheckoutRef
from reconciler.engines.local.facts import EnvFacts, KeyFacts, LocalFacts, RepoFacts, details, with_details
from tests.unit.worlds import NOW, URL, converged, exited, ledger, make_spec, running, view, views


def kinds(plan: Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


def test_a_converged_project_plans_nothing() -> None:
    """As wanted is as wanted."""
    assert make_plan(view()) == Plan()


def test_what_only_a_start_takes_up_waits_until_the_agent_is_idle() -> None:
    """Then it is restarted, with the cause; the bridge goes on."""
    busy = converged(agent=running(renewal="your logins have changed"))
    idle = converged(agent=replace(busy.agent, probe=replace(busy.agent.probe, idle=True)))

    assert make_plan(view(facts=busy)) == Plan()
    plan = make_plan(view(facts=idle))
    assert kinds(plan) == ["StopService", "StartService"]
    assert {action.cause for action in plan.actions} == {"your logins have changed, and it is idle"}


def test_from_nothing_the_whole_way_is_planned_in_order() -> None:
    """A new project in development mode: every step, none that a person must take."""
    facts = with_details(ObservedProject(name="app"), LocalFacts(key=KeyFacts(needed=True)))

    plan = make_plan(view(facts=facts, ledger=ledger(ports={}), development=True))

    assert kinds(plan) == [
        "PrepareSandbox",
        "WriteSecrets",
        "GenerateKey",
        "CloneRepo",
        "ProvideToolchain",
        "ReservePort",
        "ReservePort",
        "StartService",
        "StartService",
    ]
    assert plan.hold is None


def test_without_secrets_production_waits_and_says_how() -> None:
    """Nothing is made up; the file and the command are named."""
    facts = converged(env=EnvFacts(path="/sb/app/.env"), agent=exited(asked=True), bridge=exited(asked=True))

    plan = make_plan(view(facts=facts))

    assert plan.actions == ()
    assert plan.hold is not None
    assert plan.hold.reason == "WaitingForSecrets"
    assert "/sb/app/.env" in plan.hold.message
    assert "opencode-manager secrets app" in plan.hold.message


def test_running_services_survive_broken_secrets() -> None:
    """A broken `.env` stops nothing that runs."""
    facts = converged(env=EnvFacts(exists=True, problems=("cannot use it",)))

    assert make_plan(view(facts=facts)).actions == ()


@pytest.mark.parametrize(
    ("problems", "way"),
    [
        (("cannot use /e:3: OPENCODE_SERVER_PASSWORD is weak",), "with: opencode-manager secrets app"),
        (("cannot use /e:5: OPENCODE_PORT must be a port",), "in that file"),
        (("cannot use /e: MCP_TOOL_BEARER_TOKEN is missing", "cannot read /e:1: write KEY=value"), "in that file"),
    ],
)
def test_the_command_that_makes_secrets_is_named_only_where_it_helps(problems: tuple[str, ...], way: str) -> None:
    """Any other line is fixed in the file."""
    hold = make_plan(view(facts=converged(env=EnvFacts(exists=True, problems=problems)))).hold

    assert hold is not None
    assert hold.message == f"{'; '.join(problems)}; fix it outside the chat {way}"


def test_stopped_stops_the_bridge_first() -> None:
    """Nobody talks to an agent that is about to go."""
    plan = make_plan(view(make_spec(state="stopped")))

    assert [action.service for action in plan.actions if isinstance(action, StopService)] == ["bridge", "agent"]


def test_a_changed_input_restarts_only_the_service_that_depends_on_it() -> None:
    """A new bridge token leaves the agent alone."""
    plan = make_plan(view(facts=converged(bridge=running(20, wanted_digest="new"))))

    assert kinds(plan) == ["StopService", "StartService"]
    assert {getattr(action, "service", None) for action in plan.actions} == {Service.BRIDGE}


def test_a_first_crash_is_restarted_at_once() -> None:
    """The cause is in the action."""
    plan = make_plan(view(facts=converged(agent=exited(code=None, signal=9))))

    assert [action.cause for action in plan.actions] == ["it ended with signal 9"]


def test_a_crash_loop_waits_and_the_bridge_goes_on() -> None:
    """The wait is reported; nothing else is touched."""
    record = RestartRecord(count=3, streak=3, counted="run-1", not_before=NOW.boot + 4, boot_id=NOW.boot_id)

    plan = make_plan(view(facts=converged(agent=exited()), ledger=ledger(restarts={"agent": record})))

    assert plan.actions == ()
    assert plan.hold is not None
    assert (plan.hold.reason, plan.hold.after) == ("CrashLoop", 4.0)


@pytest.mark.parametrize(
    ("policy", "code", "starts"), [("never", 1, False), ("on-failure", 0, False), ("always", 0, True)]
)
def test_the_restart_policy_decides(policy: str, code: int, starts: bool) -> None:
    """An exit nobody asked for is restarted as the spec says."""
    plan = make_plan(view(make_spec(restart={"policy": policy}), converged(agent=exited(code=code))))

    assert (kinds(plan) == ["StartService"]) is starts


def test_a_taken_port_is_named_and_not_fought_for() -> None:
    """The holder is somebody else's process."""
    facts = converged(agent=replace(exited(asked=True), port_holder="pid 7 (nginx)"))

    plan = make_plan(view(facts=facts))

    assert plan.hold is not None
    assert plan.hold.reason == "PortTaken"
    assert "pid 7 (nginx)" in plan.hold.message
    assert plan.actions == ()


def test_an_orphan_is_adopted_not_restarted() -> None:
    """Its keeper is gone, its pid stays."""
    plan = make_plan(view(facts=converged(agent=running(phase=Phase.ORPHANED))))

    assert kinds(plan) == ["AdoptService"]


def test_processes_without_a_leader_are_ended_before_a_start() -> None:
    """One copy: the old tree is emptied first."""
    plan = make_plan(view(facts=converged(agent=running(phase=Phase.ORPHANED, pid=None))))

    assert kinds(plan) == ["StopService"]


def test_an_unresponsive_agent_is_not_killed() -> None:
    """A failed probe alone never kills a busy agent."""
    plan = make_plan(view(facts=converged(agent=running(health=Health.UNRESPONSIVE))))

    assert plan.actions == ()
    assert plan.hold is not None
    assert plan.hold.reason == "Unresponsive"


@pytest.mark.parametrize(("asked", "wanted"), [(59.0, []), (61.0, ["StopService", "StartService"])])
def test_silence_lasts_until_it_was_asked_last(asked: float, wanted: list[str]) -> None:
    """However long ago that is: since then it may have come back, while the controller stood still."""
    silent = Probe(health=Health.UNRESPONSIVE, misses=9, quiet_since=NOW.boot, at=NOW.boot + asked)
    later = replace(NOW, boot=NOW.boot + 1000)

    plan = make_plan(view(facts=converged(agent=replace(running(), probe=silent)), now=later))

    assert kinds(plan) == wanted


def test_a_changed_git_url_stops_nothing() -> None:
    """The clone may hold work; a person decides."""
    plan = make_plan(view(facts=converged(repo=RepoFacts(cloned=True, url="git@example.org:old.git"))))

    assert plan.actions == ()
    assert plan.hold is not None
    assert plan.hold.reason == "GitUrlChanged"


def test_destroy_is_blocked_by_work_that_would_be_lost() -> None:
    """The list is in the message."""
    facts = converged(repo=RepoFacts(cloned=True, work_at_risk=("2 unpushed commits on main",)))

    plan = make_plan(view(make_spec(state="absent"), facts))

    assert plan.actions == ()
    assert plan.hold is not None
    assert "2 unpushed commits on main" in plan.hold.message


def test_destroy_ends_processes_before_it_moves_the_sandbox() -> None:
    """Stop, stop, trash, and at last the spec file."""
    facts = converged(repo=RepoFacts(cloned=True, work_at_risk=()), removable_spec=True)

    plan = make_plan(view(make_spec(state="absent"), facts))

    assert kinds(plan) == ["StopService", "StopService"]
    ended = replace(facts, agent=exited(asked=True), bridge=exited(asked=True))
    assert kinds(make_plan(view(make_spec(state="absent"), ended))) == ["MoveToTrash", "RemoveSpec"]


def test_a_new_ref_is_checked_out_last() -> None:
    """Whatever becomes of it, the services run."""
    plan = make_plan(view(make_spec(git={"url": URL, "ref": "v2"})))

    assert plan.actions == (CheckoutRef(ref="v2", cause="git.ref is now v2"),)


@settings(max_examples=25, deadline=None)
@given(views)
def test_only_a_tombstone_destroys(view: View) -> None:
    """Nothing else ever plans to move a sandbox away or to remove a spec."""
    destroys = any(isinstance(action, MoveToTrash | RemoveSpec) for action in make_plan(view).actions)

    assert not destroys or view.spec.wanted is State.ABSENT


@settings(max_examples=25, deadline=None)
@given(views)
def test_never_two_of_a_service(view: View) -> None:
    """A start is planned at most once, and only where nothing of an earlier run lives or after its stop."""
    plan = make_plan(view)
    for service in Service:
        mine = [action for action in plan.actions if getattr(action, "service", None) is service]
        starts = [index for index, action in enumerate(mine) if isinstance(action, StartService)]
        stops = [index for index, action in enumerate(mine) if isinstance(action, StopService)]

        assert len(starts) <= 1
        if starts and view.facts.service(service).alive:
            assert stops
            assert stops[0] < starts[0]


@settings(max_examples=25, deadline=None)
@given(views)
def test_stopped_and_absent_start_nothing(view: View) -> None:
    """Only `running` ever starts, clones or installs anything."""
    allowed = {"StopService", "MoveToTrash", "RemoveSpec"}

    assert view.spec.wanted is State.RUNNING or set(kinds(make_plan(view))) <= allowed


@settings(max_examples=25, deadline=None)
@given(views)
def test_unpushed_work_is_never_trashed_unless_said_so(view: View) -> None:
    """Work that was found, or not looked for, blocks the trash."""
    trashes = any(isinstance(action, MoveToTrash) for action in make_plan(view).actions)
    safe = view.spec.discard_unpushed or not (
        view.facts.work_at_risk or (details(view.facts).repo.cloned and view.facts.work_at_risk is None)
    )

    assert not trashes or safe
