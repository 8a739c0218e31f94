"""One line of history: what changed, why, by whom; how repeats are folded, and how two specs differ. Pure.

Nothing decides by history: losing it loses nothing else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler.core import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

WINDOW: Final = timedelta(minutes=10)
"""Time after which what happens once more begins a new series: a parked service is tried every minute or so."""
FEW: Final = 3
"""Repeats that are shown one by one: a project that is stopped and started again is no burst."""
SERIES: Final = 2000
"""Series remembered at once: some kilobytes a project in trouble, and few projects are."""
LONGEST: Final = plain_text.LONGEST
"""Characters of one text."""
HIDDEN: Final = "(not shown)"
"""In place of a value that may be a secret."""
_PRIVATE_KEY: Final = re.compile(
    r"agent\.env\..*|.*(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY|CREDENTIAL|HMAC).*", re.IGNORECASE
)
"""Keys whose values are not kept. A variable of the agent is not meant to be a secret, but may hold one by mistake, as
the address of a proxy does."""
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)")


class Type(StrEnum):
    """Whether anything is wrong."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Via(StrEnum):
    """By which way a change came."""

    MCP = "mcp"
    CLI = "cli"
    WEB = "web"
    FILE = "file"
    """Edited by hand."""
    GIT = "git"
    CONTROLLER = "controller"


class Author(NamedTuple):
    """Who did it. Reported by the client itself, so it explains and proves nothing."""

    via: Via
    name: str = ""
    """Of the MCP client, the user of this machine, or the author of a commit."""
    detail: str = ""
    """The tool, the command, or the commit."""

    @property
    def text(self) -> str:
        """For people: `claude-code (mcp opencode_stop)`, `ada (cli stop)`, `ada (file)`, `controller`."""
        how = f"{self.via} {self.detail}".rstrip()
        return f"{self.name} ({how})" if self.name else how


CONTROLLER: Final = Author(Via.CONTROLLER)


class KeyChange(NamedTuple):
    """One key of a spec that has another value."""

    key: str
    """The path of keys, with dots."""
    old: Any
    """None: it was not there, or null."""
    new: Any

    @property
    def text(self) -> str:
        """For people: `state: running -> stopped`."""
        return f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}"


@dataclass(frozen=True, kw_only=True)
class HistoryRecord:
    """One event. All text in it is safe to show."""

    index: int = 0
    """Goes up by one with each event of a home, and never back."""
    time: str
    """Wall clock, UTC, ISO 8601 with milliseconds."""
    type: str = Type.NORMAL
    reason: str
    """One of `core.reasons`; of a later version perhaps another one."""
    project: str = ""
    """Empty: the controller itself."""
    message: str = ""
    cause: str = ""
    generation: int = 0
    revision: str = ""
    """Of the source of specs, a commit; empty where the folder is none."""
    author: Author = CONTROLLER
    changes: tuple[KeyChange, ...] = ()
    """Of an accepted spec."""
    count: int = 1
    """How often the same has happened by now; each time is a line of its own with the next count."""
    first: str = ""
    """Time of the first."""
    last: str = ""
    """Time of the last: the same as `time`."""

    @property
    def series(self) -> tuple[object, ...]:
        """What lines about the same have in common."""
        changed = tuple(change.text for change in self.changes)
        return (self.project, self.reason, self.type, self.message, self.cause, self.author, changed)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        changes = [change._asdict() for change in self.changes]
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return fields | {"author": self.author._asdict(), "changes": changes}


def iso(seconds: float) -> str:
    """Return a wall clock time, in seconds since the epoch, as records have it. Such times compare as text."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def make(time: str, reason: str, **fields: Any) -> HistoryRecord:  # noqa: ANN401  the fields of a record
    """Return a record, with its texts made safe to show."""
    safe = {key: plain_text.plain(value, LONGEST) for key, value in fields.items() if key in _LINES}
    safe["message"] = plain_text.paragraph(fields.get("message", ""), LONGEST)[:LONGEST]
    author = fields.get("author", CONTROLLER)
    named = Author(author.via, plain_text.plain(author.name, 80), plain_text.plain(author.detail, 80))
    changes = tuple(
        KeyChange(plain_text.plain(one.key), plain_text.document(one.old), plain_text.document(one.new))
        for one in fields.get("changes", ())
    )
    found = {**fields, **safe, "author": named, "changes": changes}
    return HistoryRecord(time=time, reason=reason, first=time, last=time, **found)


_LINES: Final = ("project", "cause", "revision")


def encode(record: HistoryRecord) -> bytes:
    """Return the record as one line, without what is empty."""
    data = record.to_dict()
    if record.count == 1:
        del data["first"]
    del data["last"]
    kept = {key: value for key, value in data.items() if value or key == "index"}
    return json.dumps(kept, default=str).encode() + b"\n"


def decode(line: bytes) -> HistoryRecord | None:
    """Return the record of a line, None where it holds none. Keys of a later version are left out.

    Made safe to show once more: an agent that is not confined can write to the file.
    """
    try:
        data = plain_text.document(json.loads(line))
        time, author = data["time"], data["author"]
        known = {key: data[key] for key in _KEPT if key in data and isinstance(data[key], _KEPT[key])}
        if known.get("index", 0) < 0:
            return None
        return HistoryRecord(
            **known,
            first=str(data.get("first", time)),
            last=time,
            author=Author(Via(author["via"]), str(author["name"]), str(author["detail"])),
            changes=tuple(KeyChange(str(one["key"]), one["old"], one["new"]) for one in data.get("changes", ())),
        )
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return None


_KEPT: Final[dict[str, type]] = {
    **dict.fromkeys(("time", "type", "reason", "project", "message", "cause", "revision"), str),
    **dict.fromkeys(("index", "generation", "count"), int),
}


@dataclass
class Repeats:
    """Counts what happens again and again."""

    _seen: dict[tuple[object, ...], HistoryRecord] = field(default_factory=dict)

    def fold(self, record: HistoryRecord) -> HistoryRecord:
        """Return the record with how often it has happened, and since when."""
        before = self._seen.pop(record.series, None)
        if before is not None and _near(before.time, record.time):
            record = replace(record, count=before.count + 1, first=before.first)
        self._seen[record.series] = record
        if len(self._seen) > SERIES:
            del self._seen[next(iter(self._seen))]  # the one that has not happened for the longest time
        return record


def _near(before: str, now: str) -> bool:
    """Return whether one series goes on: the clock may have been set back meanwhile."""
    return abs(datetime.fromisoformat(now) - datetime.fromisoformat(before)) <= WINDOW


def newest(records: Iterable[HistoryRecord]) -> Iterator[HistoryRecord]:
    """Return of each series of more than a few only the newest, which counts the others.

    Args:
        records: the newest first.
    """
    counted: set[tuple[object, ...]] = set()
    for record in records:
        series = (*record.series, record.first)
        if series not in counted:
            if record.count > FEW:
                counted.add(series)
            yield record


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which records are asked for."""

    names: Sequence[str] = ()
    """Names of projects, or patterns of them with `*`, `?` and `[...]`; empty: all, and the controller's own."""
    since: str = ""
    """As a record has it; empty: whenever."""

    def matches(self, record: HistoryRecord) -> bool:
        """Return whether it is one of them."""
        named = not self.names or any(fnmatchcase(record.project, name) for name in self.names)
        return named and record.time >= self.since


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[KeyChange, ...]:
    """Return the keys in which two specs differ, with both values; what may be a secret is replaced.

    Args:
        old: as plain data.
        new: the same.
    """
    before, after = dict(_flat(old)), dict(_flat(new))
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return tuple(KeyChange(key, _safe(key, before.get(key)), _safe(key, after.get(key))) for key in changed)


def _flat(data: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def _safe(key: str, value: Any) -> Any:  # noqa: ANN401  whatever a spec may hold
    if value is None:
        return None
    if _PRIVATE_KEY.fullmatch(key):
        return HIDDEN
    if isinstance(value, list):
        return [_safe(key, each) for each in value]
    return _LOGIN.sub("***", value) if isinstance(value, str) else value


def _shown(value: Any) -> str:  # noqa: ANN401  whatever a spec may hold
    return "(none)" if value is None else value if isinstance(value, str) else json.dumps(value)
