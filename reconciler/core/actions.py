"""What can be done to the machine, and how it can turn out: plain values.

Belongs here: one small record per idempotent effect, each with the cause it was planned for, and the four outcomes.
Does not belong here: doing it (`local.act`) or deciding it (`plan`).

An action carries names, never contents: whoever performs it reads the secrets, paths and binaries at that moment. So a
plan can be printed, logged and compared.
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
    cause: str

    @property
    def text(self) -> str:
        """For people: what is done, in two or three words."""
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in type(self).__name__).strip()
        service = getattr(self, "service", None)
        return words.replace("service", str(service)) if service else words


@dataclass(frozen=True, kw_only=True)
class PrepareSandbox(Action):
    """Make the sandbox's folders, private, with a .gitignore."""

    reason: ClassVar[Reason] = Reason.PREPARE_SANDBOX
    failed: ClassVar[Reason] = Reason.PREPARE_SANDBOX_FAILED


@dataclass(frozen=True, kw_only=True)
class WriteSecrets(Action):
    """Development mode only: make a `.env` with strong random secrets."""

    reason: ClassVar[Reason] = Reason.WRITE_SECRETS
    failed: ClassVar[Reason] = Reason.WRITE_SECRETS_FAILED


@dataclass(frozen=True, kw_only=True)
class GenerateKey(Action):
    """Make the project's deploy key."""

    reason: ClassVar[Reason] = Reason.GENERATE_KEY
    failed: ClassVar[Reason] = Reason.GENERATE_KEY_FAILED


@dataclass(frozen=True, kw_only=True)
class CloneRepo(Action):
    """Test access, clone into a temporary folder, check out the ref, rename into place."""

    reason: ClassVar[Reason] = Reason.CLONE_REPO
    failed: ClassVar[Reason] = Reason.CLONE_REPO_FAILED


@dataclass(frozen=True, kw_only=True)
class CheckoutRef(Action):
    """Bring an existing, clean clone to another ref."""

    reason: ClassVar[Reason] = Reason.CHECKOUT_REF
    failed: ClassVar[Reason] = Reason.CHECKOUT_REF_FAILED

    ref: str | None


@dataclass(frozen=True, kw_only=True)
class ProvideToolchain(Action):
    """Install this version of the agent's program."""

    reason: ClassVar[Reason] = Reason.PROVIDE_TOOLCHAIN
    failed: ClassVar[Reason] = Reason.PROVIDE_TOOLCHAIN_FAILED

    version: str


@dataclass(frozen=True, kw_only=True)
class ReservePort(Action):
    """Pick a free port for the service, or take the fixed one, and remember it."""

    reason: ClassVar[Reason] = Reason.RESERVE_PORT
    failed: ClassVar[Reason] = Reason.RESERVE_PORT_FAILED

    service: Service
    fixed: int | None = None


@dataclass(frozen=True, kw_only=True)
class StartService(Action):
    """Start the service under a keeper and wait until it has proved itself ready."""

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
class AdoptService(Action):
    """Give a service whose keeper is gone a new keeper."""

    reason: ClassVar[Reason] = Reason.ADOPT_SERVICE
    failed: ClassVar[Reason] = Reason.ADOPT_SERVICE_FAILED

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
    """Move the sandbox and the generated keys to the trash."""

    reason: ClassVar[Reason] = Reason.MOVE_TO_TRASH
    failed: ClassVar[Reason] = Reason.MOVE_TO_TRASH_FAILED


@dataclass(frozen=True, kw_only=True)
class RemoveSpec(Action):
    """Move the tombstone's file to the trash too."""

    reason: ClassVar[Reason] = Reason.REMOVE_SPEC
    failed: ClassVar[Reason] = Reason.REMOVE_SPEC_FAILED


@dataclass(frozen=True)
class Done:
    """It is so. Look at everything again."""


@dataclass(frozen=True)
class LookAgain:
    """Nothing is wrong; look again after this many seconds."""

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
    """It cannot go on until somebody acts: the message says what to do. Looked at again slowly, or when asked."""

    reason: Reason
    message: str


Outcome = Done | LookAgain | Retry | Blocked
