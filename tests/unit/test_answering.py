"""How the controller gives an answer to an agent: a fake engine in virtual time, and real files."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from reconciler.agents.base import CallError, Consent, NotWaitingError, Reply, ReplyError
from reconciler.core.answers import AnswerRecord, Demand, Fate
from reconciler.core.history import Author, Via
from reconciler.core.needs import NeedKind, identity
from reconciler.core.observed import PendingRequest, RequestKind, Service
from reconciler.core.reasons import Reason
from reconciler.engines.base import Recorded
from reconciler.state import answer_book, demands
from tests.unit.test_controller import SPEC, Site, play, started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ADA, BOB = Author(Via.CLI, "ada"), Author(Via.WEB, "bob")
ASKED = PendingRequest(Reason.WAITING_FOR_PERMISSION, "it asks", kind=RequestKind.PERMISSION, id="per_1")
NEED = identity("app", NeedKind.PERMISSION, "per_1")
ONCE = ("app", "per_1", Reply(consent=Consent.ONCE), False)


class Said(NamedTuple):
    """One who answers."""

    words: str
    author: Author = ADA


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def asks(site: Site, **said: Any) -> None:
    """The agent says so at its next probe; without anything else, that it asks leave."""
    services = site.engine.of("app").services
    probe = replace(services[Service.AGENT].probe, working=("ses_1",), attention=(ASKED,))
    services[Service.AGENT] = replace(services[Service.AGENT], probe=replace(probe, **said))
    site.events.happened("app")


async def outcome(site: Site, demand: Demand) -> AnswerRecord:
    async with asyncio.timeout(200):
        while (record := demands.outcome(site.home, demand)) is None:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(0.5)
    return record


def answers(
    site: Site, *people: Said, need: str = NEED, failing: Sequence[Exception] = (), **said: Any
) -> list[AnswerRecord]:
    """Let the agent ask, and return what became of each answer; they are given at once."""
    found: list[AnswerRecord] = []

    async def story() -> None:
        await started(site)
        asks(site, **said)
        site.engine.deaf.extend(failing)
        await asyncio.sleep(1)
        given = [demands.write(site.home, "app", need, one.words.split(), one.author) for one in people]
        found.extend([await outcome(site, demand) for demand in given])

    play(site, story())
    return found


def test_of_two_answers_the_first_reaches_the_agent(site: Site) -> None:
    """And the second hears whose it was, and so does the next controller."""
    first, second = answers(site, Said("once"), Said("deny", BOB))

    assert (first.fate, second.fate) == (Fate.ANSWERED, Fate.ALREADY)
    assert "by ada (cli): once" in second.message
    assert site.engine.answers == [ONCE]
    assert answer_book.read(site.home) == (first, second)
    assert demands.pending(site.home) == []


def test_a_denial_goes_with_its_word(site: Site) -> None:
    """Which is in no record."""
    (record,) = answers(site, Said("deny use staging"))

    assert site.engine.answers == [("app", "per_1", Reply(consent=Consent.DENY, word="use staging"), False)]
    assert "staging" not in repr(record)


@pytest.mark.parametrize(
    ("failing", "fate", "again"),
    [
        ((NotWaitingError(),), Fate.ELSEWHERE, [False]),
        ((ReplyError("cannot answer like this"),), Fate.REFUSED, [False]),
        ((CallError("no answer"),), Fate.ANSWERED, [False, True]),
        ((CallError("no answer"), NotWaitingError()), Fate.ANSWERED, [False, True]),
        ((CallError("no answer"),) * 3, Fate.FAILED, [False, True, True]),
    ],
)
def test_what_becomes_of_it_when_the_agent_does_not_take_it(
    site: Site, failing: tuple[Exception, ...], fate: Fate, again: list[bool]
) -> None:
    """After an answer that may have arrived, it is asked first whether it still waits."""
    (record,) = answers(site, Said("once"), failing=failing)

    assert record.fate is fate
    assert [one[3] for one in site.engine.answers] == again
    assert record.message.startswith("cannot answer") or fate is Fate.ANSWERED


def test_after_one_that_failed_another_may_answer(site: Site) -> None:
    """It still waits."""
    first, second = answers(site, Said("once"), Said("always", BOB), failing=[ReplyError("cannot answer like this")])

    assert (first.fate, second.fate) == (Fate.REFUSED, Fate.ALREADY)  # at once: the first was on its way


def test_what_nothing_waits_for_is_said(site: Site) -> None:
    """Once all that waits is known."""
    (record,) = answers(site, Said("once"), need="00000000")

    assert (record.fate, site.engine.answers) == (Fate.GONE, [])


def test_interrupted_sessions_are_resumed(site: Site) -> None:
    """All of them with one word."""
    need = identity("app", NeedKind.INTERRUPTED, "ses_1 ses_2")
    (record,) = answers(site, Said("resume"), need=need, attention=(), interrupted=("ses_2", "ses_1"))

    assert record.fate is Fate.ANSWERED
    assert site.engine.answers == [("app", ("ses_1", "ses_2"), None, False)]


def test_an_answer_that_an_earlier_controller_was_sending_is_finished(site: Site, tmp_path: Path) -> None:
    """It asks the agent first; the answer of another does not count."""
    demand = demands.write(site.home, "app", NEED, ["once"], ADA)
    before = AnswerRecord(
        demand=demand.id, project="app", need=NEED, author=ADA, at=2_000_000_000.0, fate=Fate.SENDING, said="once"
    )
    answer_book.path(site.home).write_text(json.dumps({"answers": [before.to_dict()]}))
    again = Site(tmp_path)

    (second,) = answers(again, Said("deny", BOB))

    assert second.fate is Fate.ALREADY
    assert again.engine.answers == [(*ONCE[:3], True)]
    assert [record.fate for record in answer_book.read(site.home)] == [Fate.ANSWERED, Fate.ALREADY]


def test_what_waits_and_what_was_answered_is_in_the_history(site: Site) -> None:
    """With its author."""
    lines: list[Recorded] = []
    site.events.subscribe(Recorded, lines.append)

    answers(site, Said("once"))

    found = [(line.reason, line.message, line.author) for line in lines]
    assert found == [
        (Reason.WAITING_FOR_PERSON, f"permission {NEED}: it asks", None),
        (Reason.ANSWERED, f"permission {NEED} answered: once", ADA),
    ]


def test_a_spec_may_have_interruptions_resumed(site: Site) -> None:
    """Once each."""

    async def story() -> None:
        site.write("app", f"{SPEC}restart: {{resume: true}}\n")
        await asyncio.sleep(1)
        asks(site, attention=(), interrupted=("ses_1",))
        await asyncio.sleep(60)

    play(site, story())

    assert site.engine.answers == [("app", ("ses_1",), None, False)]
