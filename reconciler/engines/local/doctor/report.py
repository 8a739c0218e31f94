"""Run every check on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.engines.local.doctor import checks
from reconciler.engines.local.doctor.machine import Machine

if TYPE_CHECKING:
    from reconciler.core.findings import Finding
    from reconciler.settings import Settings


def findings(settings: Settings) -> tuple[Finding, ...]:
    """Return what is found."""
    return checks.findings(Machine(settings))
