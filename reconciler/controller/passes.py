"""Tell from a project's state whether it is at rest, backs off, or is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reconciler.core.plan import Plan
from reconciler.core.reasons import Reason
from reconciler.core.spec import State

if TYPE_CHECKING:
    from reconciler.controller.project import Project
    from reconciler.core.observed import ObservedProject

_WAITS: Final = frozenset({Reason.CRASH_LOOP, Reason.UNRESPONSIVE})
"""Holds that end by themselves, at a time that may be far off; the others are over soon."""


def at_rest(project: Project) -> bool:
    """Return whether it is as desired or waits for a person."""
    status = project.status
    seen = project.attempt.seen_version == project.desired.version
    return status is not None and seen and (status.ready.status or status.stalled.status)


def backs_off(project: Project) -> bool:
    """Return whether nothing is being done for it, and something will be when a time has come."""
    attempt = project.attempt
    if project.status is None or project.desired.asked or attempt.working:
        return False
    hold = attempt.plan.hold
    held = attempt.settled and attempt.note is None and hold is not None and hold.reason in _WAITS
    return held or attempt.failures > 0


def destroyed(project: Project) -> bool:
    """Return whether its end is desired and nothing of it is left."""
    spec, attempt = project.desired.spec, project.attempt
    absent = spec is not None and spec.wanted is State.ABSENT
    return absent and attempt.settled and attempt.plan == Plan() and not _anything(attempt.facts)


def _anything(facts: ObservedProject) -> bool:
    return facts.sandbox or facts.agent.alive or facts.bridge.alive or facts.removable_spec
