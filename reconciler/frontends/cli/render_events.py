"""Render history as a table for people. Pure."""

from __future__ import annotations

import textwrap
from datetime import datetime
from typing import TYPE_CHECKING, Final

from reconciler.core import plain_text
from reconciler.core.history import FEW, Type
from reconciler.frontends.cli import render
from reconciler.frontends.cli.terminal import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.core.history import HistoryRecord
    from reconciler.frontends.cli.terminal import Paint

_HEAD: Final = ("TIME", "PROJECT", "TYPE", "REASON", "BY", "MESSAGE")
_LEAST: Final = (19, 7, 7, 13, 10)
"""Columns that each has from the beginning: when events follow one by one, the table does not jump too often."""
_NAME_ROOM: Final = 20
_BY_ROOM: Final = 32
_ROOMY: Final = 120
"""Columns from which on a message has room beside the rest; on a narrower terminal it gets lines of its own."""
_INDENT: Final = "    "
_LEAST_WIDTH: Final = 20
"""Columns that a message gets however narrow the terminal is: it wraps by itself then."""
_MOST_LINES: Final = 3
"""Lines of a message on a narrow terminal."""
_NEITHER: Final = "-"


class EventTable:
    """Lays out events, line by line.

    Args:
        width: columns to fit into. Nothing is cut without it.
        paint: how to colour a part.
    """

    def __init__(self, width: int | None = None, paint: Paint = plain) -> None:
        self._width = width
        self._paint = paint
        self._sizes = list(_LEAST)

    def lines(self, records: Sequence[HistoryRecord], *, head: bool = True) -> Iterator[str]:
        """Return a line for each event, aligned with those before."""
        rows = [self._row(record) for record in records]
        for row in rows:
            self._sizes = [max(size, len(cell)) for size, cell in zip(self._sizes, row[:-1], strict=True)]
        if head:
            yield self._paint(self._joined(_HEAD[:-1] if self._narrow else _HEAD), "bold")
        for record, row in zip(records, rows, strict=True):
            for line in self._laid_out(row):
                yield self._paint(line, "yellow") if record.type != Type.NORMAL else line

    def _row(self, record: HistoryRecord) -> tuple[str, ...]:
        name, by = record.project or _NEITHER, record.author.text
        if self._width is not None:
            name, by = render.middle_cut(name, _NAME_ROOM), render.cut(by, _BY_ROOM)
        cells = (local(record.time), name, record.type, record.reason, by, sentence(record))
        return tuple(plain_text.plain(cell, plain_text.LONGEST) for cell in cells)

    @property
    def _narrow(self) -> bool:
        return self._width is not None and self._width < _ROOMY

    def _laid_out(self, row: Sequence[str]) -> Iterator[str]:
        """Yield the lines of one event."""
        if self._width is None or not self._narrow:
            yield self._joined(row)
            return
        yield self._joined(row[:-1])
        yield from textwrap.wrap(
            row[-1],
            max(self._width, _LEAST_WIDTH),
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_on_hyphens=False,
            max_lines=_MOST_LINES,
            placeholder=" ...",
        )

    def _joined(self, row: Sequence[str]) -> str:
        begin = "  ".join(cell.ljust(size) for cell, size in zip(row, self._sizes, strict=False))
        if len(row) == len(self._sizes):
            return begin.rstrip()
        room = None if self._width is None else self._width - len(begin) - 2
        return f"{begin}  {row[-1] if room is None else render.cut(row[-1], max(room, _LEAST_WIDTH))}".rstrip()


def render_events(records: Sequence[HistoryRecord]) -> str:
    """Render events as one text."""
    return "\n".join(EventTable().lines(records))


def sentence(record: HistoryRecord) -> str:
    """Return in one line what happened, why, how often, and what has changed."""
    happened = ": ".join(filter(None, (record.message, record.cause)))
    often = (f"{record.count} times since {local(record.first)}",) if record.count > FEW else ()
    return "; ".join(
        " ".join(part.split()) for part in (happened, *(one.text for one in record.changes), *often) if part
    )


def local(time: str) -> str:
    """Return a time as the clock on the wall here has it."""
    try:
        return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return time
