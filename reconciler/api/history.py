"""Read the history of a home for every frontend, with or without a controller, and without any import beyond that."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from reconciler.core import history
from reconciler.core.history import Filter
from reconciler.settings import UserError
from reconciler.state import history_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.core.history import HistoryRecord
    from reconciler.settings import Settings

MANY: Final = 100
"""Events shown when no time is given."""
LIMIT: Final = 50
"""Events in an answer to a chat."""
_PAST: Final = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,8})m)?(?:(\d{1,9})s)?")
_OLDEST: Final = "0001"


@dataclass(frozen=True, kw_only=True)
class EventLine:
    """One event, for who reads it."""

    index: int
    time: str
    type: str
    reason: str
    project: str
    message: str
    cause: str
    generation: int
    revision: str
    author: str
    changes: tuple[str, ...]
    """Of a spec: `state: running -> stopped`."""
    count: int
    """How often the same has happened since `first`."""
    first: str


@dataclass(frozen=True, kw_only=True)
class EventListing:
    """Some events, the oldest first."""

    events: tuple[EventLine, ...]
    index: int
    """Of the newest event there is."""


def wanted(names: Sequence[str] = (), since: str = "") -> Filter:
    """Return which events are asked for.

    Args:
        names: of projects, or patterns of them.
        since: a duration like `1h30m`, which counts back from now, or a time.

    Raises:
        UserError: it is neither.
    """
    return Filter(names=tuple(names), since=_since(since.strip()) if since.strip() else "")


def latest(settings: Settings, which: Filter, limit: int | None) -> list[HistoryRecord]:
    """Return the newest events, the oldest of them first. Blocking, for milliseconds."""
    return history_files.latest(settings.home, which, limit)


def last_index(settings: Settings) -> int:
    """Return the index of the newest event, 0 where there is none."""
    return history_files.last_index(settings.home)


def answer(settings: Settings, which: Filter, limit: int) -> tuple[EventListing, list[HistoryRecord]]:
    """Return the same as an answer, and as records. Blocking, for milliseconds."""
    records = latest(settings, which, limit)
    return EventListing(events=tuple(map(line, records)), index=history_files.last_index(settings.home)), records


def line(record: HistoryRecord) -> EventLine:
    """Return one event for who reads it."""
    fields: dict[str, Any] = {name: getattr(record, name) for name in EventLine.__dataclass_fields__}
    changes = tuple(change.text for change in record.changes)
    return EventLine(**fields | {"author": record.author.text, "changes": changes})


def _since(text: str) -> str:
    past = _PAST.fullmatch(text)
    if past is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in past.groups())
        begin = time.time() - (((days * 24 + hours) * 60 + minutes) * 60 + seconds)
        return history.iso(begin) if begin > 0 else _OLDEST
    try:
        return history.iso(datetime.fromisoformat(text).astimezone(UTC).timestamp())  # without a zone: local time
    except (ValueError, OverflowError):
        shown = repr(text if len(text) <= 40 else f"{text[:40]}...")
        raise UserError(
            f"cannot understand {shown} as a time: give a duration like 90s, 30m, 1h or 2d, or a time like "
            "2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
