"""Limit what a project's services use: what is in force, what the next start would get, and how it is brought about.

A project without limits costs nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.core.observed import ObservedLimit, Phase, Service
from reconciler.engines.local.facts import LimitFacts
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.limits import groups, means, probe
from reconciler.engines.local.limits.means import CONTROLLERS, Ceilings, Means
from reconciler.engines.local.processes import processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from reconciler.core.spec import Limits
    from reconciler.engines.local.facts import LocalService
    from reconciler.engines.local.launch import LaunchContext
    from reconciler.engines.local.limits.means import Limit


def ceilings(limits: Limits) -> Ceilings:
    """Return the limits of a spec as numbers."""
    return Ceilings(memory=limits.bytes, cpus=limits.cpus, tasks=limits.tasks)


def facts(name: str, limits: Limits, services: Iterable[LocalService]) -> LimitFacts:
    """Return what limits a project has, by what they are enforced, and what is to be done about it."""
    if not limits.given:
        return LimitFacts()
    wanted, live = ceilings(limits), [each for each in services if each.phase is Phase.RUNNING]
    chosen = _in_force(wanted, dict(live[0].groups)) if live else means.choose(wanted, probe.find())
    used = groups.used(dict(live[0].groups)) if live else {}
    shown = tuple(
        ObservedLimit(
            name=limit.value,
            value=value,
            used=used.get(limit),
            enforced_by=chosen[limit].value,
            hard=chosen[limit].hard,
        )
        for limit, value in wanted.items()
    )
    soft = ", ".join(f"limits.{limit} by {by}" for limit, by in chosen.items() if not by.hard)
    return LimitFacts(
        shown=shown,
        outdated=any(groups.outdated(dict(each.groups), wanted) for each in live),
        problem=means.refusal(name, means.choose(wanted, probe.find())) if limits.required else "",
        warning=f"the kernel does not enforce its limits here: {soft}" if soft else "",
    )


def watched(limits: Iterable[ObservedLimit]) -> Ceilings:
    """Return those of the limits in force that a watchdog has to hold a project to."""
    soft = {each.name: each.value for each in limits if each.enforced_by == Means.WATCHDOG}
    memory, tasks = soft.get("memory"), soft.get("tasks")
    return Ceilings(memory=None if memory is None else int(memory), tasks=None if tasks is None else int(tasks))


def _in_force(wanted: Ceilings, folders: Mapping[str, str]) -> dict[Limit, Means]:
    there, without = groups.means(folders), means.choose(wanted, means.Available())
    return {limit: there.get(CONTROLLERS[limit], without[limit]) for limit, _ in wanted.items()}


def prepare(project: LaunchContext, service: Service) -> dict[str, str]:
    """Make and limit the control groups for a start; return their folders, by controller; none where none are wanted.

    Raises:
        OSError: the kernel refuses.
    """
    if not project.spec.limits.given:
        return {}
    name = groups.name_of(project.settings.home.root, project.name)
    folders = groups.make(probe.find(), name, service.value)
    groups.limit(folders, ceilings(project.spec.limits))
    return folders


def apply(run_dir: Path, limits: Limits) -> None:
    """Give the services of a project that were started with limits these ones.

    Raises:
        OSError: the kernel refuses one.
    """
    for service in Service:
        groups.limit(_folders(run_dir, service), ceilings(limits))


def clear(run_dir: Path, service: Service) -> None:
    """Remove the control groups of a service of which nothing is left."""
    groups.remove(_folders(run_dir, service).values())


def _folders(run_dir: Path, service: Service) -> dict[str, str]:
    place = identity.RunFiles(identity.real_folder(str(run_dir)), service.value)
    return processes.groups_of(identity.read_record(place.run))
