"""What an agent does is judged from what was proved of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.activity import AgentActivity, Doing, judge
from reconciler.core.observed import (
    ActivitySignals,
    Health,
    ObservedProject,
    ObservedService,
    PendingRequest,
    Phase,
    Probe,
    RequestKind,
)
from reconciler.core.reasons import Reason

QUIET = ActivitySignals(at=90.0, used=1.0, busy=False)
READY = Probe(health=Health.READY, working=(), at=100.0, signals=QUIET)
ASKS = PendingRequest(Reason.WAITING_FOR_PERMISSION, "it asks", kind=RequestKind.PERMISSION, id="per_1")
REFUSED = PendingRequest(Reason.PROVIDER_REFUSED, "no key")


def project(probe: Probe = READY, phase: Phase = Phase.RUNNING) -> ObservedProject:
    return ObservedProject(name="app", agent=ObservedService(phase=phase, probe=probe))


@pytest.mark.parametrize(
    ("probe", "state", "why"),
    [
        (READY, Doing.IDLE, ""),
        (replace(READY, working=("a",)), Doing.WORKING, "in 1 conversation"),
        (replace(READY, working=("a", "b")), Doing.WORKING, "in 2 conversations"),
        (replace(READY, working=("a", "b"), attention=(ASKS,)), Doing.WAITING, "1 request for a person"),
        (replace(READY, working=("a",), attention=(ASKS, ASKS)), Doing.WAITING, "2 requests for a person"),
        (replace(READY, attention=(REFUSED,)), Doing.IDLE, ""),
        (replace(READY, working=None), Doing.UNKNOWN, "the agent does not say what it works at"),
        (replace(READY, working=("a",), misses=1, detail="no answer"), Doing.UNKNOWN, "asked last (no answer)"),
        (Probe(), Doing.UNKNOWN, "has not answered yet"),
        (Probe(health=Health.UNRESPONSIVE), Doing.UNKNOWN, "does not answer"),
        (Probe(health=Health.CONFIG_INVALID), Doing.UNKNOWN, "configuration"),
        (Probe(health=Health.UNPROTECTED), Doing.UNKNOWN, "no password"),
        (Probe(health=Health.REFUSING), Doing.UNKNOWN, "refuses its password"),
    ],
)
def test_each_state_is_proved_and_unknown_says_why(probe: Probe, state: Doing, why: str) -> None:
    """Waiting goes before working; a provider that refuses is no person that is waited for."""
    found = judge(project(probe), 50.0)

    assert (found.state, found.since) == (state, 50.0)
    assert why in found.why


def seen(**fields: Any) -> Probe:
    return replace(READY, signals=replace(QUIET, **fields))


@pytest.mark.parametrize(
    ("probe", "state", "why"),
    [
        (replace(READY, signals=None), Doing.IDLE, ""),
        (seen(busy=None), Doing.IDLE, ""),
        (seen(busy=True), Doing.WORKING, "its processes use the processor"),
        (seen(children=("npm run dev",)), Doing.IDLE, "a background process: npm run dev"),
        (seen(children=("vite", "psql")), Doing.IDLE, "a background process: vite and 1 more"),
        (seen(connections=1), Doing.IDLE, "a client is connected"),
        (seen(connections=2, children=("vite",)), Doing.IDLE, "a background process: vite; 2 clients are connected"),
        (seen(problem="nothing can be seen"), Doing.UNKNOWN, "nothing can be seen"),
        (replace(seen(problem="nothing can be seen"), working=("a",)), Doing.WORKING, "in 1 conversation"),
    ],
)
def test_each_other_signal_alone_keeps_it_from_being_quiet(probe: Probe, state: Doing, why: str) -> None:
    """What cannot be seen makes it unknown only where nothing else proves that it works."""
    before = judge(project(), 40.0)
    found = judge(project(probe), 50.0, before)

    assert (found.state, found.why, found.quiet_since) == (state, why, None)
    assert before.quiet_since == 100.0


@pytest.mark.parametrize(
    ("bridge", "since"),
    [
        (ObservedService(), 100.0),
        (ObservedService(phase=Phase.RUNNING, probe=READY), 100.0),
        (ObservedService(phase=Phase.RUNNING, probe=replace(READY, signals=None)), None),
        (ObservedService(phase=Phase.RUNNING, probe=replace(READY, misses=1)), None),
        (ObservedService(phase=Phase.RUNNING, probe=seen(connections=1)), None),
        (ObservedService(phase=Phase.ENDING, probe=READY), None),
    ],
)
def test_a_bridge_counts_too_while_anything_of_it_lives(bridge: ObservedService, since: float | None) -> None:
    """Its clients are the agent's."""
    assert judge(replace(project(), bridge=bridge), 50.0).quiet_since == since


def test_it_is_quiet_since_it_was_first_seen_so_without_a_break() -> None:
    """By the clock that nobody sets; another controller begins at its own first look."""
    first = judge(project(), 50.0)
    second = judge(project(replace(READY, at=110.0)), 20.0, first)
    broken = judge(project(replace(READY, at=120.0, misses=1)), 70.0, second)
    third = judge(project(replace(READY, at=130.0)), 80.0, broken)
    other = judge(project(replace(READY, at=140.0)), 90.0, None, third)

    assert [one.quiet_since for one in (first, second, broken, third, other)] == [100.0, 100.0, None, 130.0, 140.0]


def test_one_that_does_not_run_is_unknown_or_asleep() -> None:
    """As its engine says."""
    stopped = project(phase=Phase.EXITED)

    assert judge(stopped, 50.0).state is Doing.UNKNOWN
    assert judge(stopped, 50.0, asleep=True).state is Doing.ASLEEP


def test_the_age_goes_on_while_the_state_stays() -> None:
    """And begins with another one."""
    first = judge(project(), 50.0)
    second = judge(project(), 60.0, first)
    third = judge(project(replace(READY, working=("a",))), 70.0, second)

    assert [one.since for one in (first, second, third)] == [50.0, 50.0, 70.0]


def test_another_controller_goes_on_with_the_age() -> None:
    """It knows nothing until the agent was asked, and then what was published last."""
    remembered = AgentActivity(state=Doing.WORKING, since=10.0)
    unknown = judge(project(Probe()), 50.0, None, remembered)
    again = judge(project(replace(READY, working=("a",))), 51.0, unknown, remembered)

    assert unknown.state is Doing.UNKNOWN
    assert again.since == 10.0


@pytest.mark.parametrize(("written", "since"), [(30, 30.0), (90, 50.0), (0, 50.0)])
def test_one_that_is_idle_when_it_is_first_seen_is_so_since_it_wrote_its_journal(written: int, since: float) -> None:
    """Never later than now."""
    found = judge(project(replace(READY, written=written * 10**9)), 50.0)

    assert found.since == since


def test_one_that_becomes_idle_is_so_from_now_on() -> None:
    """Its journal says when it began to write last, not when it ended."""
    working = AgentActivity(state=Doing.WORKING, since=10.0)

    assert judge(project(replace(READY, written=30 * 10**9)), 50.0, working).since == 50.0
