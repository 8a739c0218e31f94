"""Render history as a table for people. Pure."""

from __future__ import annotations

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
_MESSAGE_ROOM: Final = 20
"""Columns that are left for the message however narrow the terminal is: it wraps by itself then."""
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
            yield self._paint(self._joined(_HEAD).rstrip(), "bold")
        for record, row in zip(records, rows, strict=True):
            line = self._joined(row).rstrip()
            yield self._paint(line, "yellow") if record.type != Type.NORMAL else line

    def _row(self, record: HistoryRecord) -> tuple[str, ...]:
        name, by = record.project or _NEITHER, record.author.text
        if self._width is not None:
            name, by = render.middle_cut(name, _NAME_ROOM), render.cut(by, _BY_ROOM)
        cells = (local(record.time), name, record.type, record.reason, by, sentence(record))
        return tuple(plain_text.plain(cell, plain_text.LONGEST) for cell in cells)

    def _joined(self, row: Sequence[str]) -> str:
        begin = "  ".join(cell.ljust(size) for cell, size in zip(row[:-1], self._sizes, strict=True))
        room = None if self._width is None else max(self._width - len(begin) - 2, _MESSAGE_ROOM)
        return f"{begin}  {row[-1] if room is None else render.cut(row[-1], room)}"


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
