"""Of several answers to one need the first counts, and the others hear whose it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core import answers
from reconciler.core.answers import AnswerRecord, Demand, Fate, judge
from reconciler.core.history import Author, Via
from reconciler.core.needs import Need, NeedKind, Said

NEED = Need(
    id="n1", kind=NeedKind.PERMISSION, project="app", message="", since=40.0, answers=("once", "always", "deny")
)
DEMAND = Demand(
    id="d2", project="app", need="n1", words=("once",), author=Author(Via.CLI, "bob", "answer"), written=100.0
)
FIRST = AnswerRecord(
    demand="d1",
    project="app",
    need="n1",
    kind="permission",
    said="deny",
    author=Author(Via.MCP, "ada"),
    at=95.0,
    fate=Fate.ANSWERED,
)


def judged(demand: Demand = DEMAND, need: Need | None = NEED, *earlier: AnswerRecord) -> AnswerRecord:
    found = judge(demand, need, earlier, 100.0, age=100.0 - demand.written, seen=True)
    assert found is not None
    return found[0]


def test_the_first_answer_is_sent() -> None:
    """What was said goes with it, and not into the record."""
    found = judge(DEMAND, NEED, (), 100.0, age=0.0, seen=True)

    assert found is not None
    assert (found[0].fate, found[0].said, found[0].kind) == (Fate.SENDING, "once", "permission")
    assert found[1] == Said(decision="once")


@pytest.mark.parametrize("fate", [Fate.SENDING, Fate.ANSWERED])
@pytest.mark.parametrize("need", [NEED, None])
def test_a_second_one_hears_who_was_first(fate: Fate, need: Need | None) -> None:
    """Whether the need is still there or not."""
    found = judged(DEMAND, need, replace(FIRST, fate=fate))

    assert found.fate is Fate.ALREADY
    assert found.message == "cannot answer n1: answered 5 s ago by ada (mcp): deny"


def test_after_one_that_came_too_late_nobody_is_named() -> None:
    """It was answered in the agent itself."""
    found = judged(DEMAND, None, replace(FIRST, fate=Fate.ELSEWHERE))

    assert found.message == "cannot answer n1: it did not wait any more 5 s ago"


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, fate=Fate.REFUSED),
        replace(FIRST, fate=Fate.FAILED),
        replace(FIRST, project="web"),
        replace(FIRST, need="n2"),
        replace(FIRST, at=30.0),
        replace(FIRST, demand="d2"),
    ],
)
def test_what_was_no_answer_to_this_need_does_not_count(other: AnswerRecord) -> None:
    """Nor does one to the same interruption of an earlier time."""
    assert judged(DEMAND, NEED, other).fate is Fate.SENDING


def test_what_waits_by_no_such_id_is_said_once_that_is_known() -> None:
    """A controller that has just begun waits a while."""
    unseen = judge(DEMAND, None, (), 101.0, age=1.0, seen=False)
    late = judge(DEMAND, None, (), 100.0, age=answers.PATIENCE, seen=False)

    assert unseen is None
    assert late is not None
    assert late[0].fate is judged(DEMAND, None).fate is Fate.GONE
    assert late[0].message.startswith("cannot answer n1 of app: nothing waits there")


def test_an_answer_that_was_left_lying_is_not_given() -> None:
    """Who wrote it has gone on."""
    found = judged(replace(DEMAND, written=100.0 - answers.EXPIRES - 1))

    assert (found.fate, found.message[:13]) == (Fate.GONE, "cannot answer")


def test_what_does_not_fit_is_refused() -> None:
    """And the need still waits."""
    found = judged(replace(DEMAND, words=("perhaps",)))

    assert (found.fate, found.message[:27]) == (Fate.REFUSED, "cannot answer a permission ")


def test_records_are_read_back_and_the_last_are_kept() -> None:
    """One that may not have reached its agent is kept whatever its age."""
    many = [replace(FIRST, demand=f"d{number}") for number in range(answers.KEPT + 5)]
    many[1] = replace(many[1], fate=Fate.SENDING)

    assert answers.of_dict(FIRST.to_dict() | {"of a later version": 1}) == FIRST
    assert answers.kept(many) == (many[1], *many[5:])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3.0, "0 s ago"), (59.9, "59 s ago"), (60.0, "1 min ago"), (7200.0, "2 h ago"), (200000.0, "2 d ago")],
)
def test_ages_for_people(seconds: float, text: str) -> None:
    """In the largest unit."""
    assert answers.ago(seconds) == text
