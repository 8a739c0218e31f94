"""Events as people read them: aligned, never cut to nothing, and whole in a file."""

from __future__ import annotations

from typing import Any, Final

import pytest

from reconciler.core import history
from reconciler.core.history import Author, HistoryRecord, Via
from reconciler.core.reasons import Reason
from reconciler.frontends.cli.render_events import EventTable, render_events, sentence

NOW: Final = 1_800_000_000.0
LONG: Final = "cannot reach git@git.example.org:team/shop.git: ssh: connect to host git.example.org port 22: refused"


def an_event(**fields: Any) -> HistoryRecord:
    values = {"project": "app", "message": "agent started", **fields}
    return history.make(history.iso(NOW), values.pop("reason", Reason.SERVICE_STARTED), **values)


@pytest.mark.parametrize("width", [None, 160])
def test_a_wide_terminal_and_a_file_have_one_line_for_each(width: int | None) -> None:
    """The columns are aligned, and nothing is left behind at the end of a line."""
    lines = list(EventTable(width).lines([an_event(), an_event(project="", message="version 1")]))

    assert [line.split()[2 if number else 1] for number, line in enumerate(lines)] == ["PROJECT", "app", "-"]
    assert len({line.index(word) for line, word in zip(lines, ("MESSAGE", "agent", "version"), strict=True)}) == 1
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("width", [80, 100, 119])
def test_on_a_narrow_terminal_a_message_has_lines_of_its_own(width: int) -> None:
    """It can be read there, and no line is longer than the terminal is wide."""
    head, first, *message = EventTable(width).lines([an_event(message=LONG)])

    assert "MESSAGE" not in head
    assert first.split()[2:] == ["app", "Normal", "ServiceStarted", "controller"]
    assert " ".join(line.strip() for line in message) == LONG
    assert all(line.startswith("    ") for line in message)
    assert max(map(len, (head, first, *message))) <= width


def test_a_message_without_end_is_cut_where_there_is_little_room() -> None:
    """After three lines, or at the edge of a wide one; a file has all of it."""
    event = an_event(message="word " * 300)

    assert [len(list(EventTable(width).lines([event], head=False))) for width in (80, 160, None)] == [4, 1, 1]
    assert list(EventTable(80).lines([event]))[-1].endswith(" ...")
    assert len(next(EventTable(160).lines([event], head=False))) == 160
    assert sentence(event) in render_events([event])


def test_a_terminal_of_a_few_columns_ends_nothing() -> None:
    """It wraps by itself then."""
    assert "agent started" in "\n".join(EventTable(5).lines([an_event()]))


def test_events_that_follow_are_aligned_with_those_before() -> None:
    """A long name moves the columns from there on, and never back."""
    table = EventTable()
    long = list(table.lines([an_event(project="a-rather-long-name")]))[-1]
    short = list(table.lines([an_event()], head=False))[-1]

    assert long.index("agent started") == short.index("agent started")


def test_a_warning_is_painted_whole() -> None:
    """Each line of it; what is normal is not."""
    warning = an_event(message=LONG, type=history.Type.WARNING)
    painted = list(EventTable(80, lambda text, style: f"<{style}>{text}").lines([warning, an_event()], head=False))

    assert [line.startswith("<yellow>") for line in painted] == [True, True, True, False, False]


def test_a_sentence_says_why_how_often_and_what_has_changed() -> None:
    """In one line, whatever the parts have in them; two times are not worth a word."""
    change = history.KeyChange("state", "running", "stopped")
    event = an_event(cause="it\nended", changes=(change,))

    assert sentence(event) == "agent started: it ended; state: running -> stopped"
    for count, said in ((history.FEW, False), (history.FEW + 1, True)):
        often = HistoryRecord(time=event.time, reason=event.reason, message="x", count=count, first=event.time)
        assert ("times since" in sentence(often)) is said


def test_who_did_it_is_shown_and_cut_in_the_middle_of_a_screen() -> None:
    """An odd time of another version is shown as it is."""
    event = HistoryRecord(time="yesterday", reason="Odd", author=Author(Via.MCP, "a" * 60, "opencode_stop"))

    assert "a" * 60 not in "\n".join(EventTable(80).lines([event]))
    assert "a" * 60 in render_events([event])
    assert render_events([event]).splitlines()[1].startswith("yesterday")
