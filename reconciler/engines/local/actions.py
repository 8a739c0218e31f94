"""Actions that only this engine knows: what a machine needs before a service can run on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from reconciler.core.actions import Action
from reconciler.core.reasons import Reason

if TYPE_CHECKING:
    from reconciler.core.observed import Service


@dataclass(frozen=True, kw_only=True)
class PrepareSandbox(Action):
    """Make the sandbox's folders, private, with a .gitignore."""

    reason: ClassVar[Reason] = Reason.PREPARE_SANDBOX
    failed: ClassVar[Reason] = Reason.PREPARE_SANDBOX_FAILED
    edits: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class WriteSecrets(Action):
    """Development mode only: make a `.env` with strong random secrets."""

    reason: ClassVar[Reason] = Reason.WRITE_SECRETS
    failed: ClassVar[Reason] = Reason.WRITE_SECRETS_FAILED
    edits: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class GenerateKey(Action):
    """Make the project's deploy key."""

    reason: ClassVar[Reason] = Reason.GENERATE_KEY
    failed: ClassVar[Reason] = Reason.GENERATE_KEY_FAILED
    edits: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class CloneRepo(Action):
    """Test access, clone into a temporary folder, check out the ref, rename into place."""

    reason: ClassVar[Reason] = Reason.CLONE_REPO
    failed: ClassVar[Reason] = Reason.CLONE_REPO_FAILED
    edits: ClassVar[bool] = True


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
class ApplyLimits(Action):
    """Give what runs the limits of the spec."""

    reason: ClassVar[Reason] = Reason.APPLY_LIMITS
    failed: ClassVar[Reason] = Reason.APPLY_LIMITS_FAILED


@dataclass(frozen=True, kw_only=True)
class AdoptService(Action):
    """Give a service whose keeper is gone a new keeper."""

    reason: ClassVar[Reason] = Reason.ADOPT_SERVICE
    failed: ClassVar[Reason] = Reason.ADOPT_SERVICE_FAILED

    service: Service
