"""Lines of logs and rows of usage, as they are laid out."""

from __future__ import annotations

import pytest

from reconciler.api import consumption
from reconciler.api.consumption import Row, Sample, rows
from reconciler.core.observed import Service
from reconciler.engines.base import Usage
from reconciler.frontends.cli import log_lines, sizes
from reconciler.frontends.cli.commands import top

NOON = 1764331200.0
"""2025-11-28T12:00:00Z."""
MIB = 1 << 20


# -- logs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pieces_of_any_size_become_lines(size: int) -> None:
    """The last one too, which has no end yet."""
    text, found = b"one\ntwo\n\nrest", list[bytes]()
    lines = log_lines.Lines(found.append)

    for begin in range(0, len(text), size):
        lines.add(text[begin : begin + size])
    lines.end()

    assert found == [b"one", b"two", b"", b"rest"]


def test_what_never_ends_is_cut() -> None:
    """Instead of filling the memory."""
    found = list[bytes]()
    lines = log_lines.Lines(found.append)

    for _ in range(10):
        lines.add(b"x" * 20_000)

    assert max(map(len, found)) < 100_000


@pytest.mark.parametrize(
    ("line", "at"),
    [
        (b"INFO  2025-11-28T12:00:00 +3ms service=x", None),
        (b"2025-11-28T12:00:00Z hello", NOON),
        (b"2025-11-28 13:00:00.123+01:00 hello", NOON),
        (b"[2025-11-28T12:00:00.5Z] hello", NOON),
        (b"no time at all", None),
        (b"2025-13-28T12:00:00Z hello", None),
        (b"x" * 70 + b"2025-11-28T12:00:00Z", None),
    ],
)
def test_a_line_says_when_it_was_printed(line: bytes, at: float | None) -> None:
    """One without a zone is in the time of this machine."""
    found = log_lines.time_of(line)

    assert found == at if at is not None or b"INFO" not in line else found is not None


def test_only_young_lines_are_kept_with_those_that_follow_them() -> None:
    """The lines of a traceback belong to the one above."""
    lines = [b"before", b"2025-11-28T11:59:59Z old", b" more", b"2025-11-28T12:00:01Z new", b" and more"]

    assert list(log_lines.since(lines, NOON)) == [b"2025-11-28T12:00:01Z new", b" and more"]


def test_no_byte_of_a_log_steers_the_terminal() -> None:
    """Colours are left out, all else is shown as a picture of itself."""
    hostile = b"\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07 \xc2\x9b1A \xff tab\there\r"

    found = log_lines.shown(hostile)

    assert found.startswith("red \u241b[2J\u241b]0;title\u2407 \ufffd1A \ufffd tab\there")
    assert "\x1b" not in found


# -- top ---------------------------------------------------------------------------------------------------------------


def used(cpu: float, memory: int = MIB, tasks: int = 1) -> Usage:
    return Usage(memory=memory, cpu=cpu, tasks=tasks)


def test_a_rate_is_what_was_spent_between_two_looks() -> None:
    """Of a service that was started again meanwhile, since its start."""
    before = Sample(at=10.0, services={("a", Service.AGENT): used(5.0), ("b", Service.AGENT): used(50.0)})
    now = Sample(
        at=12.0,
        services={
            ("a", Service.AGENT): used(6.0, memory=3 * MIB, tasks=4),
            ("a", Service.BRIDGE): used(1.0),
            ("b", Service.AGENT): used(0.5),
        },
    )

    [a, b, c] = rows(["a", "b", "c"], before, now)

    assert (a.share, a.cpu, a.memory, a.tasks, a.parts) == (1.0, 7.0, 4 * MIB, 5, {"agent": 3 * MIB, "bridge": MIB})
    assert b.share == 0.25
    assert not c.running


def test_rows_are_aligned_sorted_and_summed() -> None:
    """The largest first, and nothing for what does not run."""
    found = [
        Row(name="small", memory=5 * MIB, share=0.5, cpu=61, tasks=3, running=True, parts={"agent": 5 * MIB}),
        Row(name="large", memory=2048 * MIB, share=0.01, cpu=1, tasks=20, running=True, parts={"agent": 2048 * MIB}),
        Row(name="asleep"),
    ]

    assert [row.name for row in top.ordered(found, "cpu")] == ["small", "large", "asleep"]
    assert top.render_rows(top.ordered(found, "memory")) == [
        "PROJECT   CPU   MEMORY    AGENT  BRIDGE  TASKS  CPU TIME",
        "large    0.01  2.0 GiB  2.0 GiB       -     20        1s",
        "small    0.50  5.0 MiB  5.0 MiB       -      3      1m1s",
        "asleep      -        -        -       -      -         -",
        "total    0.51  2.0 GiB  2.0 GiB     0 B     23      1m2s",
    ]


def test_limits_are_shown_where_there_are_some() -> None:
    """As published; the sum has none."""
    status = {"limits": [{"name": "memory", "value": 2048 * MIB}, {"name": "cpus", "value": 1.5}]}
    limited = Row(name="a", memory=5 * MIB, tasks=3, running=True, limits=consumption.limits_of(status))
    lines = top.render_rows([limited, Row(name="b", limits={"tasks": 200})])

    assert [line.rpartition("  ")[2].strip() for line in lines] == ["LIMITS", "2.0 GiB, 1.5 cpus", "200 tasks", "-"]
    assert consumption.limits_of({}) == {}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (312 * MIB, "312 MiB"), (1 << 31, "2.0 GiB")]
)
def test_a_size_is_in_the_largest_unit_that_fits(count: int, text: str) -> None:
    """With a digit behind the point where there is one before it."""
    assert sizes.size(count) == text
