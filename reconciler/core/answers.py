"""What became of what people answered: who was first, and what others hear. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.history import Author, Via
from reconciler.core.needs import Said, UnfitAnswerError, understand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.core.needs import Need

KEPT: Final = 200
"""Answers that are remembered."""
PATIENCE: Final = 10.0
"""Seconds for which an answer waits for its need to be seen: a controller that has just begun has seen nothing."""


EXPIRES: Final = 600.0
"""Seconds after which an answer that nobody has taken up is too old: the person has gone on."""


class Fate(StrEnum):
    """What became of an answer."""

    SENDING = "sending"
    """It is the first, and is being sent: it may or may not have reached the agent."""
    ANSWERED = "answered"
    ELSEWHERE = "elsewhere"
    """It came too late: the need was answered in the agent itself, or its conversation ended."""
    ALREADY = "already"
    """Another answer was first."""
    GONE = "gone"
    """Nothing waits by this id."""
    REFUSED = "refused"
    """It does not fit."""
    FAILED = "failed"
    """The agent did not answer."""


_COUNTS: Final = frozenset({Fate.SENDING, Fate.ANSWERED, Fate.ELSEWHERE})
"""After these, another answer to the same need is too late."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What somebody answers, as a frontend has written it down."""

    id: str
    project: str
    need: str
    """The id."""
    words: tuple[str, ...]
    author: Author
    written: float
    """Wall clock, seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class AnswerRecord:
    """One answer and what became of it."""

    demand: str
    project: str
    need: str
    kind: str = ""
    """Of the need."""
    said: str = ""
    """The decision, or that it was a text; never the words."""
    author: Author
    at: float
    """Wall clock of the decision."""
    fate: Fate
    message: str = ""
    """For people: a sentence."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    def ended(self, fate: Fate, message: str = "") -> AnswerRecord:
        """Return the same with another fate."""
        return replace(self, fate=fate, message=message)


def of_dict(data: Mapping[str, Any]) -> AnswerRecord:
    """Return the record. Raises LookupError, TypeError or ValueError for anything else."""
    known = {one.name for one in fields(AnswerRecord)}
    values = {key: data[key] for key in data if key in known}
    return AnswerRecord(**{**values, "fate": Fate(data["fate"]), "author": author_of(data["author"])})


def author_of(data: Sequence[str]) -> Author:
    """Return the author that was kept like this. Raises TypeError or ValueError for anything else."""
    via, name, detail = data
    return Author(Via(via), str(name), str(detail))


def judge(
    demand: Demand, need: Need | None, earlier: Iterable[AnswerRecord], wall: float, *, age: float, seen: bool
) -> tuple[AnswerRecord, Said] | None:
    """Decide what is done about an answer; None: not yet, for its project has not been seen.

    Args:
        demand: the answer.
        need: what it answers, if that waits now.
        earlier: what became of others, in any order.
        wall: the time, seconds since the epoch.
        age: seconds since the answer was written down.
        seen: whether all that waits in the project is known.
    """
    record = AnswerRecord(
        demand=demand.id, project=demand.project, need=demand.need, author=demand.author, at=wall, fate=Fate.SENDING
    )
    if age > EXPIRES:
        return record.ended(
            Fate.GONE, f"cannot answer {demand.need}: it was answered too long ago; answer again"
        ), Said()
    first = _first(demand, need, earlier)
    if first is not None:
        record = replace(record, kind=first.kind)
        return record.ended(Fate.ALREADY, f"cannot answer {demand.need}: {answered(first, wall)}"), Said()
    if need is None:
        if not seen and age < PATIENCE:
            return None
        message = f"cannot answer {demand.need} of {demand.project}: nothing waits there by that id"
        return record.ended(Fate.GONE, f"{message}; see: opencode-manager needs"), Said()
    record = replace(record, kind=need.kind.value)
    try:
        said = understand(need, demand.words)
    except UnfitAnswerError as error:
        return record.ended(Fate.REFUSED, str(error)), Said()
    return replace(record, said=said.text), said


def _first(demand: Demand, need: Need | None, earlier: Iterable[AnswerRecord]) -> AnswerRecord | None:
    """Return the answer that was first; one to the same need of another time does not count."""
    for record in earlier:
        same = (record.project, record.need) == (demand.project, demand.need) and record.demand != demand.id
        if same and record.fate in _COUNTS and (need is None or need.since <= record.at):
            return record
    return None


def answered(record: AnswerRecord, wall: float) -> str:
    """Return a clause for who comes second: `answered 5 s ago by ada (cli answer): once`."""
    if record.fate is Fate.ELSEWHERE:
        return f"it did not wait any more {ago(wall - record.at)}"
    return f"answered {ago(wall - record.at)} by {record.author.text}: {record.said}"


def ago(seconds: float) -> str:
    """Return an age for people."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} ago"
    return f"{whole} s ago"


def kept(records: Sequence[AnswerRecord]) -> tuple[AnswerRecord, ...]:
    """Return those that are remembered: the newest, and all that may not have reached their agent yet."""
    old, new = records[:-KEPT], records[-KEPT:]
    return (*(one for one in old if one.fate is Fate.SENDING), *new)
