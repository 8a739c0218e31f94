"""How a project stands between two passes, as far as the loop must know.

Belongs here: whether it is at rest, backs off, or is gone. Does not belong here: what is published of it (`status`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reconciler.core.plan import Plan
from reconciler.core.reasons import Reason
from reconciler.core.spec import State

if TYPE_CHECKING:
    from reconciler.controller.reconciler import Project
    from reconciler.core.observed import ProjectFacts

_WAITS: Final = frozenset({Reason.CRASH_LOOP, Reason.UNRESPONSIVE})
"""Holds that end by themselves, at a time that may be far off; what is ending or being looked for is over soon."""


def at_rest(project: Project) -> bool:
    """Whether it is as wanted or waits for a person."""
    status, seen = project.published, project.seen_version == project.version
    return bool(status) and seen and bool(status["ready"]["status"] or status["stalled"]["status"])


def backs_off(project: Project) -> bool:
    """Whether nothing is being done for it, and something will be when a time has come."""
    if not project.published or project.asked or project.working:
        return False
    hold = project.plan.hold
    held = project.settled and project.note is None and hold is not None and hold.reason in _WAITS
    return held or project.failures > 0


def destroyed(project: Project) -> bool:
    """Whether its end is wanted, and nothing of it is left."""
    wanted = project.spec is not None and project.spec.wanted is State.ABSENT
    return wanted and project.settled and project.plan == Plan() and not _anything(project.facts)


def _anything(facts: ProjectFacts) -> bool:
    return facts.sandbox or facts.agent.alive or facts.bridge.alive or facts.removable_spec
