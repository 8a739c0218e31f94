"""The events that the controller publishes on the sink it shares with the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.engines.base import Event

if TYPE_CHECKING:
    from reconciler.core.actions import Action
    from reconciler.core.answers import AnswerRecord
    from reconciler.core.history import Author, KeyChange
    from reconciler.core.observed import Ledger, ObservedProject
    from reconciler.core.reasons import Reason
    from reconciler.core.status import ProjectStatus


@dataclass(frozen=True, slots=True)
class SpecChanged(Event):
    """What is desired of a project has changed, or a person asks for a pass."""

    name: str
    urgent: bool = False
    """Whether a person waits for it."""
    replaced: bool = False
    """Whether another spec is in force: a pass towards the old one is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecJudged(Event):
    """A spec file has changed: what that means for its project."""

    name: str
    reason: Reason
    message: str
    author: Author
    generation: int = 0
    changes: tuple[KeyChange, ...] = ()
    """Of what it says, where it was accepted."""


@dataclass(frozen=True, slots=True)
class FolderScanned(Event):
    """The specs folder was scanned and what it says is in force."""

    news: bool
    """Whether something about the folder as a whole has changed."""


@dataclass(frozen=True, slots=True)
class FolderNoted(Event):
    """The notes about entries of the specs folder that are not used have changed."""

    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Observing(Event):
    """A pass begins to observe a project: what changes from here on it may miss."""

    name: str


@dataclass(frozen=True, slots=True)
class Observed(Event):
    """A project was observed."""

    facts: ObservedProject
    before: Ledger
    """What was remembered until then."""
    ledger: Ledger
    """The same, with the exits counted that were seen."""


@dataclass(frozen=True, slots=True)
class ActionBegun(Event):
    """An action is about to be performed."""

    name: str
    action: Action
    generation: int


@dataclass(frozen=True, slots=True)
class PassEnded(Event):
    """A pass over a project has ended: its status says where that has led."""

    status: ProjectStatus


@dataclass(frozen=True, slots=True)
class StatusChanged(Event):
    """The status of a project has changed in more than its times."""

    status: ProjectStatus


@dataclass(frozen=True, slots=True)
class StatusAged(Event):
    """A project was observed and is as it was."""

    status: ProjectStatus


@dataclass(frozen=True, slots=True)
class AtRest(Event):
    """Something has changed, and now every project is as desired or waits for a person."""

    statuses: tuple[ProjectStatus, ...]
    """Of all projects, by name."""


@dataclass(frozen=True, slots=True)
class AllPassed(Event):
    """Something has changed, and now every project had its pass: it is at rest, or waits for the next try."""

    statuses: tuple[ProjectStatus, ...]
    """Of all projects, by name."""


@dataclass(frozen=True, slots=True)
class AnswerGiven(Event):
    """Somebody has answered what waits for a person, and this became of it."""

    record: AnswerRecord
