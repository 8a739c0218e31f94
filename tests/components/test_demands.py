"""The files by which answers come and go: demands, what became of them, the bell, and the book of answers."""

from __future__ import annotations

import asyncio
import json
import os
import select
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.core.answers import AnswerRecord, Fate
from reconciler.core.history import Author, Via
from reconciler.settings import Home
from reconciler.state import answer_book, demands
from reconciler.state.answer_book import AnswerBook

if TYPE_CHECKING:
    from pathlib import Path

ADA = Author(Via.CLI, "ada", "answer")
RECORD = AnswerRecord(demand="d1", project="app", need="n1", author=ADA, at=5.0, fate=Fate.SENDING)


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.controller.mkdir(parents=True)
    return home


def test_demands_are_listed_the_oldest_first_and_are_private(home: Home) -> None:
    """What an answer says is nobody else's."""
    first = demands.write(home, "app", "n1", ["deny", "use staging"], ADA)
    second = demands.write(home, "app", "n2", ["once"], ADA)

    assert demands.pending(home) == [first, second]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (demands.folder(home), *demands.folder(home).iterdir()))


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"id": "other", "words": []}', '{"id": "x", "words": 3}', "x" * 70_000]
)
def test_what_is_no_demand_is_deleted(home: Home, text: str) -> None:
    """And keeps nobody from the others."""
    wanted = demands.write(home, "app", "n1", ["once"], ADA)
    odd = demands.folder(home) / "x.json"
    odd.write_text(text)

    assert demands.pending(home) == [wanted]
    assert not odd.exists()


def test_what_became_of_a_demand_is_read_once(home: Home) -> None:
    """And the demand is gone by then."""
    demand = demands.write(home, "app", "n1", ["once"], ADA)
    record = replace(RECORD, demand=demand.id, fate=Fate.ANSWERED)
    assert demands.outcome(home, demand) is None

    demands.conclude(home, record)

    assert demands.pending(home) == []
    assert demands.outcome(home, demand) == record
    assert demands.outcome(home, demand) is None


def test_a_demand_is_taken_back_unless_it_was_taken_up(home: Home) -> None:
    """Who waits in vain learns which."""
    demand = demands.write(home, "app", "n1", ["once"], ADA)

    assert demands.withdraw(home, demand)
    assert not demands.withdraw(home, demand)


def test_outcomes_that_nobody_reads_are_deleted_after_a_while(home: Home) -> None:
    """Others stay."""
    old, new = (demands.write(home, "app", need, ["once"], ADA) for need in ("n1", "n2"))
    for demand in (old, new):
        demands.conclude(home, replace(RECORD, demand=demand.id))
    os.utime(demands.folder(home) / f"{old.id}.outcome", (0, 0))

    demands.prune(home)

    assert demands.outcome(home, old) is None
    assert demands.outcome(home, new) is not None


@pytest.mark.parametrize("before", ["nothing", "a bell", "a file", "a link"])
def test_a_demand_rings_the_bell(home: Home, before: str) -> None:
    """Whatever lies in its place; without a controller there is nobody to hear it."""
    path = demands.folder(home) / "bell"
    path.parent.mkdir()
    match before:
        case "a bell":
            os.mkfifo(path)
        case "a file":
            path.write_text("x")
        case "a link":
            path.symlink_to("/dev/null")
    demands.ring(home)
    bell = demands.open_bell(home)
    try:
        demands.write(home, "app", "n1", ["once"], ADA)
        assert select.select([bell], [], [], 60)[0] == [bell]
        demands.heard(bell)
        assert select.select([bell], [], [], 0)[0] == []
    finally:
        os.close(bell)


async def test_many_records_share_a_write_and_all_are_there(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of those who wait is sure of its own."""
    writes: list[int] = []
    book, write = AnswerBook(home), AnswerBook._write

    def counted(self: AnswerBook, records: tuple[AnswerRecord, ...]) -> None:
        writes.append(len(records))
        write(self, records)

    monkeypatch.setattr(AnswerBook, "_write", counted)

    async def note(number: int) -> None:
        book.note(replace(RECORD, demand=f"d{number}"))
        await book.save()
        assert any(one.demand == f"d{number}" for one in answer_book.read(home))

    await asyncio.gather(*(note(number) for number in range(50)))

    assert len(answer_book.read(home)) == 50
    assert len(writes) == 2  # the first, and all that came meanwhile
    assert AnswerBook(home).of("d7") == replace(RECORD, demand="d7")


async def test_what_cannot_be_written_is_not_taken_for_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """So nothing is sent before it is on disk; the next try writes it."""
    book = AnswerBook(home)
    book.note(RECORD)
    with monkeypatch.context() as broken:
        broken.setattr(answer_book, "path", lambda _home: home.controller / "missing" / "answers.json")
        with pytest.raises(OSError, match="missing"):
            await book.save()
    assert answer_book.read(home) == ()

    await book.save()
    assert answer_book.read(home) == (RECORD,)
    book.drop("d1")
    await book.save()
    assert answer_book.read(home) == ()


@pytest.mark.parametrize("text", ["", "{}", '{"answers": [{}]}', json.dumps({"answers": 3})])
def test_a_broken_book_is_empty(home: Home, text: str) -> None:
    """It is history; agents say themselves what still waits."""
    answer_book.path(home).write_text(text)

    assert answer_book.read(home) == ()
