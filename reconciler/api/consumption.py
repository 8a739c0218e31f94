"""Measure what projects use of the machine, twice, since a rate needs two looks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reconciler.api import engine_access
from reconciler.core.observed import Service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.engines.base import Usage
    from reconciler.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at several projects."""

    at: float
    """Monotonic, seconds."""
    services: Mapping[tuple[str, Service], Usage]
    """Those that run."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one project uses."""

    name: str
    memory: int = 0
    """Bytes."""
    share: float = 0.0
    """Of one processor: 1.5 is one and a half."""
    cpu: float = 0.0
    """Seconds of processor time."""
    tasks: int = 0
    running: bool = False
    parts: Mapping[str, int] = field(default_factory=dict)
    """Bytes by service."""
    disk: int | None = None
    """Bytes; None: not measured."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Those in force: bytes of memory, processors, tasks."""


def limits_of(status: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the limits of a project, as published."""
    return {limit["name"]: limit["value"] for limit in status.get("limits", ())}


def sample(settings: Settings, names: Sequence[str]) -> Sample:
    """Look at each service once."""
    found = {(name, service): engine_access.usage(settings, name, service) for name in names for service in Service}
    return Sample(at=time.monotonic(), services={key: usage for key, usage in found.items() if usage is not None})


def rows(names: Sequence[str], before: Sample, now: Sample) -> list[Row]:
    """Return a row for each project. A service that was started between the looks has its rate since its start."""
    return [_row(name, before, now) for name in names]


def _row(name: str, before: Sample, now: Sample) -> Row:
    used = {service: usage for (project, service), usage in now.services.items() if project == name}
    passed = max(now.at - before.at, 0.001)
    spent = 0.0
    for service, usage in used.items():
        earlier = before.services.get((name, service))
        known = earlier is not None and earlier.cpu <= usage.cpu  # else it is another run
        spent += usage.cpu - (earlier.cpu if earlier is not None and known else 0.0)
    return Row(
        name=name,
        memory=sum(usage.memory for usage in used.values()),
        share=spent / passed,
        cpu=sum(usage.cpu for usage in used.values()),
        tasks=sum(usage.tasks for usage in used.values()),
        running=bool(used),
        parts={service.value: usage.memory for service, usage in used.items()},
    )
