"""Actions that every engine knows, each with its cause, and the four outcomes, as plain values.

An action carries names, never contents: its performer reads secrets, paths and programs at that moment. So a plan can
be printed, logged and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from reconciler.core.reasons import Reason

if TYPE_CHECKING:
    from reconciler.core.observed import Service


@dataclass(frozen=True, kw_only=True)
class Action:
    """One idempotent effect; performing it twice is the same as once."""

    reason: ClassVar[Reason]
    """Of a condition while it is planned or performed."""
    failed: ClassVar[Reason]
    """Of a condition when it failed in a way that has no reason of its own."""
    edits: ClassVar[bool] = False
    """Whether it changes what people edit too (`Engine.fingerprint`)."""
    cause: str

    @property
    def text(self) -> str:
        """For people: what is done, in two or three words."""
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in type(self).__name__).strip()
        service = getattr(self, "service", None)
        return words.replace("service", str(service)) if service else words


@dataclass(frozen=True, kw_only=True)
class StartService(Action):
    """Start the service and wait until it has proved itself ready."""

    reason: ClassVar[Reason] = Reason.START_SERVICE
    failed: ClassVar[Reason] = Reason.START_SERVICE_FAILED

    service: Service


@dataclass(frozen=True, kw_only=True)
class AwaitReady(Action):
    """Wait until a running service has proved itself ready."""

    reason: ClassVar[Reason] = Reason.AWAIT_READY
    failed: ClassVar[Reason] = Reason.AWAIT_READY_FAILED

    service: Service


@dataclass(frozen=True, kw_only=True)
class StopService(Action):
    """End the service's whole tree; done only when it is empty."""

    reason: ClassVar[Reason] = Reason.STOP_SERVICE
    failed: ClassVar[Reason] = Reason.STOP_SERVICE_FAILED

    service: Service
    wedged: bool = False
    """Ended because it neither answers nor works: that counts as a restart."""


@dataclass(frozen=True, kw_only=True)
class MoveToTrash(Action):
    """Remove everything the engine holds of the project; it stays in the trash for a while."""

    reason: ClassVar[Reason] = Reason.MOVE_TO_TRASH
    failed: ClassVar[Reason] = Reason.MOVE_TO_TRASH_FAILED
    edits: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class RemoveSpec(Action):
    """Move the tombstone's file to the trash too."""

    reason: ClassVar[Reason] = Reason.REMOVE_SPEC
    failed: ClassVar[Reason] = Reason.REMOVE_SPEC_FAILED


@dataclass(frozen=True)
class Done:
    """Success: observe again."""


@dataclass(frozen=True)
class RequeueAfter:
    """Nothing is wrong: observe again after this many seconds."""

    after: float
    reason: Reason = Reason.RECONCILING
    message: str = ""


@dataclass(frozen=True)
class Retry:
    """It failed in a way that may pass: back off and try again."""

    reason: Reason
    message: str
    run_id: str = ""
    """Of the run of a service that was ended for it."""
    cause: str = ""
    """Why that run did not get ready, and what helps, where that is known."""


@dataclass(frozen=True)
class Blocked:
    """A person must act: the message says what to do. It is retried slowly, or when asked."""

    reason: Reason
    message: str


Outcome = Done | RequeueAfter | Retry | Blocked
