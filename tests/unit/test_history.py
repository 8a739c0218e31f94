"""One line of history: safe to show, read as it was written, folded when it repeats; and how two specs differ."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import history, plain_text
from reconciler.core.history import (
    CONTROLLER,
    FEW,
    HIDDEN,
    SERIES,
    Author,
    Filter,
    HistoryRecord,
    KeyChange,
    Repeats,
    Via,
)
from reconciler.core.reasons import Reason

NOW: Final = 1_800_000_000.0
HOSTILE: Final = "\x1b]0;owned\x07name\x1b[31m\u202e\u2066\nline\x00\ud800"


def a_record(at: float = 0.0, reason: Reason = Reason.SERVICE_ENDED, **fields: Any) -> HistoryRecord:
    return history.make(history.iso(NOW + at), reason, **{"project": "app", "message": "agent ended", **fields})


@pytest.mark.parametrize(
    ("author", "text"),
    [
        (Author(Via.MCP, "claude-code", "opencode_stop"), "claude-code (mcp opencode_stop)"),
        (Author(Via.CLI, "ada", "stop"), "ada (cli stop)"),
        (Author(Via.FILE, "ada"), "ada (file)"),
        (Author(Via.FILE), "file"),
        (CONTROLLER, "controller"),
    ],
)
def test_an_author_is_one_short_text(author: Author, text: str) -> None:
    """Who, and by which way."""
    assert author.text == text


def test_times_compare_as_text() -> None:
    """In milliseconds, in UTC."""
    assert history.iso(NOW) == "2027-01-15T08:00:00.000Z"
    assert history.iso(NOW - 0.001) < history.iso(NOW) < history.iso(NOW + 0.001) < history.iso(NOW + 86_400)


changes = st.lists(
    st.builds(KeyChange, st.text(max_size=9), st.none() | st.integers() | st.text(max_size=9), st.just("x")), max_size=2
).map(tuple)
records = st.builds(
    lambda texts, author, changed, numbers: replace(
        a_record(message=texts[0], cause=texts[1], author=author, changes=changed, generation=numbers[0]),
        index=numbers[1],
        count=numbers[2],
    ),
    st.tuples(st.text(max_size=60), st.text(max_size=20)),
    st.builds(Author, st.sampled_from(Via), st.text(max_size=100), st.text(max_size=9)),
    changes,
    st.tuples(st.integers(0, 9), st.integers(0, 10**9), st.integers(1, 9)),
)


@given(records)
def test_what_is_written_is_read(record: HistoryRecord) -> None:
    """As one line, whatever text is in it."""
    line = history.encode(record)

    assert line.count(b"\n") == 1
    assert history.decode(line) == record


@given(st.text() | st.just(HOSTILE))
def test_no_text_steers_a_terminal(text: str) -> None:
    """Neither of a record that is made here, nor of a line that somebody else wrote into the file."""
    made = a_record(
        project=text, message=text, cause=text, author=Author(Via.MCP, text, text), changes=(KeyChange(text, text, 1),)
    )
    data = json.loads(history.encode(a_record())) | {"message": text, "project": text, "reason": text}
    read = history.decode(json.dumps(data).encode())

    assert read is not None
    shown = [made.project, made.cause, made.author.text, made.changes[0].text, read.project, read.reason]
    assert all(each.isprintable() for each in (*shown, *made.message.split("\n"), *read.message.split("\n")))


def test_texts_have_an_end() -> None:
    """Each field, so that a line has one too."""
    record = a_record(message="x\n" * 10**6, cause="y" * 10**6, author=Author(Via.MCP, "z" * 10**6))

    assert len(history.encode(record)) < 3 * plain_text.LONGEST


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0" * 80,
        b'{"index": 3, "time": "2027-01-15T08:0',
        b"[1]",
        b"3",
        b'{"index": 3}',
        history.encode(a_record()).replace(b'"index": 0', b'"index": -1'),
        b'{"time": "x", "reason": "y", "author": {"via": "a door", "name": "", "detail": ""}}',
        b'{"time": "x", "reason": "y", "author": "me"}',
        b'{"time": "x", "author": {"via": "cli", "name": "", "detail": ""}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_is_none(line: bytes) -> None:
    """A power cut leaves zeros and halves."""
    assert history.decode(line) is None


def test_a_line_of_a_later_version_is_read() -> None:
    """Without the keys that are not known, and with those whose values are of another kind left at their defaults."""
    data = json.loads(history.encode(a_record())) | {"later": 1, "generation": "many", "reason": "OfALaterVersion"}

    assert history.decode(json.dumps(data).encode()) == replace(a_record(), reason="OfALaterVersion")


def test_repeats_are_counted_from_the_first() -> None:
    """Each is a line of its own with the next count; another message is another series."""
    repeats = Repeats()
    folded = [repeats.fold(a_record(at)) for at in (0, 60, 120)]
    other = repeats.fold(a_record(180, message="bridge ended"))

    assert [(each.count, each.first) for each in folded] == [(n, history.iso(NOW)) for n in (1, 2, 3)]
    assert [each.time for each in folded] == [each.last for each in folded]
    assert (other.count, other.first) == (1, history.iso(NOW + 180))


def test_what_happens_again_much_later_is_a_new_series() -> None:
    """And so is what seems to have happened long before: the clock was set."""
    repeats = Repeats()
    counts = [repeats.fold(a_record(at)).count for at in (0, 599, 1300, 1301, -5000)]

    assert counts == [1, 2, 1, 2, 1]


def test_series_are_forgotten_when_there_are_many() -> None:
    """The one that has not happened for the longest time is the first to go."""
    repeats = Repeats()
    for number in range(SERIES):
        repeats.fold(a_record(message=str(number)))
    repeats.fold(a_record(message="0"))
    repeats.fold(a_record(message="one more"))

    assert repeats.fold(a_record(message="0")).count == 3
    assert repeats.fold(a_record(message="1")).count == 1


def test_only_the_newest_of_many_repeats_is_shown() -> None:
    """It counts the others; a few are shown one by one, and other events stay where they are."""
    repeats = Repeats()
    crashes = [repeats.fold(a_record(at)) for at in range(FEW + 3)]
    starts = [repeats.fold(a_record(at, Reason.SERVICE_STARTED)) for at in range(FEW)]
    shown = list(history.newest([*reversed(crashes), *reversed(starts)]))

    assert shown == [crashes[-1], *reversed(starts)]
    assert shown[0].count == FEW + 3


@pytest.mark.parametrize(
    ("names", "since", "matches"),
    [
        ((), "", True),
        (("app",), "", True),
        (("blog", "a*"), "", True),
        (("a?",), "", False),
        ((), history.iso(NOW), True),
        ((), history.iso(NOW + 1), False),
    ],
)
def test_events_are_asked_for_by_name_and_time(names: tuple[str, ...], since: str, *, matches: bool) -> None:
    """Names are patterns."""
    assert Filter(names=names, since=since).matches(a_record()) is matches


def test_the_difference_of_two_specs_is_by_key() -> None:
    """With the value before and after, also where there was none or is none any more."""
    old = {"state": "running", "git": {"url": "a", "ref": None}, "limits": {"cpus": 2}, "labels": {"team": "x"}}
    new = {"state": "stopped", "git": {"url": "a", "ref": "main"}, "limits": {"cpus": 2}, "labels": {}}
    found = history.diff(old, new)

    assert found == (
        KeyChange("git.ref", None, "main"),
        KeyChange("labels.team", "x", None),
        KeyChange("state", "running", "stopped"),
    )
    assert [each.text for each in found[:2]] == ["git.ref: (none) -> main", "labels.team: x -> (none)"]
    assert history.diff(old, old) == ()


def test_a_change_never_shows_a_secret() -> None:
    """Neither a variable of the agent, nor what is named like one, nor a login within an address."""
    canary = "canary-0123456789"
    old = {"agent": {"env": {"HTTP_PROXY": f"http://me:{canary}@proxy"}}, "notify": [f"https://me:{canary}@host/x"]}
    new = {"agent": {"env": {"HTTP_PROXY": "x", "LANG": canary}}, "notify": [], "hmac_secret": canary, "cpus": 1}
    found = {each.key: each for each in history.diff(old, new)}

    assert canary not in repr(found)
    assert found["agent.env.HTTP_PROXY"] == KeyChange("agent.env.HTTP_PROXY", HIDDEN, HIDDEN)
    assert found["hmac_secret"].text == "hmac_secret: (none) -> (not shown)"
    assert found["notify"].text == 'notify: ["https://***@host/x"] -> []'
    assert found["cpus"].text == "cpus: (none) -> 1"
