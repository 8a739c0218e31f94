"""What the controller holds of one project between passes: frozen values, replaced as a whole.

All of it can be lost without loss: it is read, observed and computed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.core.observed import ObservedProject
from reconciler.core.plan import Plan

if TYPE_CHECKING:
    from reconciler.core.spec import Spec
    from reconciler.core.status import Note, ProjectStatus


@dataclass(frozen=True, kw_only=True)
class Desired:
    """What is desired of a project; replaced by the intake."""

    spec: Spec | None = None
    """In force: the one accepted last."""
    version: str = ""
    """Of the spec file as it is now."""
    problem: Note | None = None
    """Why the file as it is now is not the spec in force."""
    warnings: tuple[str, ...] = ()
    asked: bool = True
    """Whether a person wants a pass now: a new spec, a touched file, a tool call. The next pass clears it."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What the last pass saw, planned and achieved; replaced by the reconciler."""

    facts: ObservedProject = field(default_factory=lambda: ObservedProject(name=""))
    plan: Plan = field(default_factory=Plan)
    note: Note | None = None
    """What is going on, or what stands in the way."""
    seen_version: str = ""
    """Of the spec file when the last finished pass began."""
    settled: bool = False
    """Whether a pass over this version ended with nothing left to do."""
    observed_generation: int = 0
    failures: int = 0
    """Passes in a row that failed."""
    retry_at: float = 0.0
    """CLOCK_BOOTTIME in seconds before which a failed pass is not repeated, unless a person asks: what it ended wakes
    the project, too."""
    urgent: bool = False
    """Whether a person waits for the pass in work: it overtakes the others."""
    working: bool = False
    """Whether an action is being performed now: then it does not wait, whatever its status says."""


@dataclass(kw_only=True)
class Project:
    """One project of the controller."""

    name: str
    desired: Desired = field(default_factory=Desired)
    attempt: Attempt = field(default_factory=Attempt)
    status: ProjectStatus | None = None
    """As computed last; None before the first pass."""
