"""The published status: computed from facts, plan and notes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings

from reconciler.core import status
from reconciler.core.observed import Health, ObservedService, PendingRequest, Phase, Service
from reconciler.core.plan import Plan, View, make_plan
from reconciler.core.reasons import Reason
from reconciler.core.status import Note, ProjectStatus, Remembered, Sources
from reconciler.engines.local.facts import ConfinementFacts, LocalService
from tests.unit.worlds import NOW, converged, exited, ledger, make_spec, running, view, views


def compute(seen: View, previous: ProjectStatus | None = None, **changes: Any) -> ProjectStatus:
    sources = Sources(
        name="app",
        spec=seen.spec,
        facts=seen.facts,
        ledger=seen.ledger,
        plan=make_plan(seen),
        settled=True,
        observed_generation=1,
        wall=NOW.wall,
    )
    return status.compute(replace(sources, **changes), previous)


def test_a_submodule_that_is_missing_is_a_warning_and_no_trouble() -> None:
    """The project runs all the same."""
    facts = converged()
    status = compute(view(facts=replace(facts, warnings=("cannot fetch submodule lib: no",))))

    assert status.reason == "Running"
    assert status.warnings == ("cannot fetch submodule lib: no",)


def test_what_waits_until_the_agent_is_idle_is_a_warning_with_the_command() -> None:
    """The agent is as well as before."""
    seen = view(facts=converged(agent=running(renewal="your logins have changed")))

    status = compute(seen)

    [warning] = status.warnings
    assert warning.startswith("your logins have changed: used when the agent is idle")
    assert warning.endswith("opencode-manager restart app")
    assert status.ready.status


def test_ready_shows_wanted_and_actual_side_by_side() -> None:
    """Both services, their pids and their addresses."""
    status = compute(view())

    assert (status.desired, status.actual, status.reason) == ("running", "running", "Running")
    assert status.ready.status
    assert (status.agent.pid, status.agent.url) == (10, "http://127.0.0.1:4101")
    assert (status.bridge.pid, status.bridge.url) == (20, "http://127.0.0.1:5101/mcp")


def test_a_dead_agent_is_never_called_running() -> None:
    """Status comes from what was seen."""
    status = compute(view(facts=converged(agent=exited())))

    assert not status.ready.status
    assert status.actual == "partial"
    assert (status.agent.state, status.agent.pid) == ("crashed", None)


def test_waiting_for_a_key_is_stalled_and_shows_the_public_key() -> None:
    """Not an error: somebody must act."""
    note = Note(reason=Reason.WAITING_FOR_KEY, message="cannot read it: add the key", stalled=True)

    status = compute(view(facts=converged(agent=exited(asked=True))), note=note)

    assert status.stalled.status
    assert status.reason == "WaitingForKey"
    assert status.public_key == "ssh-ed25519 AAAA app"
    assert status.public_key_path == "/keys/app-deploy.pub"


def test_what_waits_for_a_person_has_a_need_and_is_known_again() -> None:
    """A broken spec hides nothing, and another controller goes on with the times."""
    note = Note(reason=Reason.WAITING_FOR_KEY, message="add the key", stalled=True)
    broken = Note(reason=Reason.SPEC_INVALID, message="cannot accept app.yaml:3", stalled=True)
    first = compute(view(), note=note, spec_problem=broken)
    (need,) = first.needs

    later = compute(view(), first, note=note, wall=NOW.wall + 50)
    remembered = Remembered.of(first.to_dict())
    again = compute(view(), note=note, wall=NOW.wall + 60, remembered=remembered)

    assert (need.kind, need.message, need.since) == ("key", "add the key", NOW.wall)
    assert need.public_key == "ssh-ed25519 AAAA app"
    assert later.needs == again.needs == first.needs
    assert (remembered.activity, remembered.needs) == (first.activity, {need.id: NOW.wall})


def test_nothing_is_remembered_of_what_another_version_has_published() -> None:
    """It had no needs."""
    assert Remembered.of({"name": "app"}) == Remembered.of({"activity": {"state": "new"}}) == Remembered()


def test_a_broken_file_leaves_the_services_shown_as_they_are() -> None:
    """The last accepted spec stays in force and the reason is reported."""
    note = Note(reason=Reason.SPEC_INVALID, message="cannot accept app.yaml:3", stalled=True)

    status = compute(view(), spec_problem=note)

    assert status.actual == "running"
    assert (status.stalled.reason, status.stalled.message) == ("SpecInvalid", "cannot accept app.yaml:3")


def test_a_transition_time_moves_only_when_the_status_changes() -> None:
    """So it tells how long it has been so."""
    first = compute(view())
    later = compute(view(), first, wall=NOW.wall + 60)
    broken = compute(view(facts=converged(agent=exited())), later, wall=NOW.wall + 90)

    assert later.ready.since == first.ready.since
    assert broken.ready.since == NOW.wall + 90


def test_how_the_agent_is_confined_is_reported() -> None:
    """In force, not wanted: what an agent was started with stays so."""
    confinement = ConfinementFacts(running="bubblewrap", warning="but look")
    status = compute(view(facts=converged(confinement=confinement)))

    assert (status.confinement, status.warnings) == ("bubblewrap", ("but look",))


def test_keys_that_are_not_enforced_yet_are_reported() -> None:
    """A limit that nobody holds must not look as if."""
    status = compute(view(make_spec(idle_timeout="2h", limits={"memory": "2GiB"})))

    assert status.not_enforced == ("idle_timeout",)


def test_the_restart_count_and_the_last_exit_are_reported() -> None:
    """From the ledger, after the fact."""
    record = ledger().restart(Service.AGENT)
    seen = view(ledger=ledger(restarts={"agent": replace(record, count=1, last_exit="signal 9")}))

    status = compute(seen)

    assert (status.agent.restarts, status.agent.last_exit) == (1, "signal 9")


@settings(max_examples=25, deadline=None)
@given(views)
def test_ready_is_never_said_of_what_is_not_as_wanted(seen: View) -> None:
    """Ready needs an empty plan, and for `running` two proved services."""
    status = compute(seen)
    proved = seen.facts.agent.ready and seen.facts.bridge.ready

    assert not status.ready.status or make_plan(seen) == Plan()
    assert not status.ready.status or seen.spec.state != "running" or proved


def test_an_unresponsive_service_differs_from_a_starting_one() -> None:
    """Two words for two things."""
    silent = compute(view(facts=converged(agent=running(health=Health.UNRESPONSIVE))))
    starting = compute(view(facts=converged(agent=running(health=Health.UNKNOWN))))

    assert (silent.agent.state, starting.agent.state) == ("unresponsive", "starting")


def test_an_agent_that_waits_for_a_person_is_well_and_says_so() -> None:
    """Ready, and stalled with the reason: not a silent "running"."""
    asked = running().probe
    request = PendingRequest(Reason.WAITING_FOR_PERMISSION, "the agent asks leave for: bash rm", id="per_1")
    other = PendingRequest(Reason.WAITING_FOR_ANSWER, "the agent asks: which?")
    one = replace(asked, attention=(request, other))
    two = replace(asked, attention=(request, request, other))
    unlisted = replace(asked, attention=(replace(request, id=""),))
    how = "; to answer: opencode-manager needs, or opencode_needs in a chat"

    status = compute(view(facts=converged(agent=running(probe=one))))
    more = compute(view(facts=converged(agent=running(probe=two))))

    assert status.ready.status
    assert (status.stalled.status, status.reason) == (True, "WaitingForPermission")
    assert status.message == f"the agent asks leave for: bash rm{how}"
    assert more.message == f"the agent asks leave for: bash rm (and 1 more){how}"
    assert compute(view(facts=converged(agent=running(probe=unlisted)))).message == "the agent asks leave for: bash rm"
    assert [need.message for need in status.needs] == ["the agent asks leave for: bash rm", "the agent asks: which?"]


def test_a_service_that_does_not_run_shows_where_it_will_be() -> None:
    """Its engine knows that; before a port was picked, and on an engine that has none, there is nothing to show."""
    stopped = LocalService(phase=Phase.EXITED, port=4150, kept_port=4101)
    shown = compute(view(facts=converged(agent=stopped, bridge=LocalService())))
    elsewhere = compute(view(facts=converged(agent=ObservedService(), bridge=ObservedService(phase=Phase.RUNNING))))

    assert (shown.agent.port, shown.agent.url) == (4101, "http://127.0.0.1:4101")
    assert (shown.bridge.port, shown.bridge.url) == (None, None)
    assert [(each.port, each.url) for each in (elsewhere.agent, elsewhere.bridge)] == [(None, None)] * 2
