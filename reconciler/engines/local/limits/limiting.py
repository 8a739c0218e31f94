"""Limit what a project's services use: what is in force, what the next start would get, and how it is brought about.

A project without limits costs nothing here.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.core.observed import ObservedLimit, Phase, Service
from reconciler.engines.local.facts import LimitFacts
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.limits import groups, manager, means, probe
from reconciler.engines.local.limits.means import CONTROLLERS, Available, Ceilings, Means
from reconciler.engines.local.processes import processes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from reconciler.core.spec import Limits
    from reconciler.engines.local.facts import LocalService
    from reconciler.engines.local.launch import LaunchContext
    from reconciler.engines.local.limits.means import Limit
    from reconciler.engines.local.processes.processes import Launch


def ceilings(limits: Limits) -> Ceilings:
    """Return the limits of a spec as numbers."""
    return Ceilings(memory=limits.bytes, cpus=limits.cpus, tasks=limits.tasks)


def facts(name: str, limits: Limits, services: Iterable[LocalService]) -> LimitFacts:
    """Return what limits a project has, by what they are enforced, and what is to be done about it."""
    if not limits.given:
        return LimitFacts()
    wanted, live = ceilings(limits), [each for each in services if each.phase is Phase.RUNNING]
    chosen = _in_force(wanted, live[0]) if live else means.choose(wanted, probe.find())
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
        outdated=any(_outdated(each, wanted) for each in live),
        problem=means.refusal(name, means.choose(wanted, probe.find())) if limits.required else "",
        warning=f"the kernel does not enforce its limits here: {soft}" if soft else "",
    )


def watched(limits: Iterable[ObservedLimit]) -> Ceilings:
    """Return those of the limits in force that a watchdog has to hold a project to."""
    soft = {each.name: each.value for each in limits if each.enforced_by == Means.WATCHDOG}
    memory, tasks = soft.get("memory"), soft.get("tasks")
    return Ceilings(memory=None if memory is None else int(memory), tasks=None if tasks is None else int(tasks))


def _in_force(wanted: Ceilings, service: LocalService) -> dict[Limit, Means]:
    there, without = groups.means(dict(service.groups)), means.choose(wanted, Available())
    if service.slice_name:
        there = dict.fromkeys(there, Means.MANAGER)
    return {limit: there.get(CONTROLLERS[limit], without[limit]) for limit, _ in wanted.items()}


def _outdated(service: LocalService, wanted: Ceilings) -> bool:
    # In the older hierarchy systemd sets no limit of memory with swap.
    return groups.outdated(dict(service.groups), wanted, but="memory.memsw" if service.slice_name else "")


def limited(project: LaunchContext, service: Service, launch: Launch) -> Launch:
    """Prepare that a service starts within its limits; return its launch with them. Blocking.

    Raises:
        OSError: the kernel or systemd refuses.
    """
    limits = project.spec.limits
    if not limits.given:
        return launch
    found = probe.find()
    launch = replace(launch, victim=service is Service.AGENT and limits.memory is not None)
    name = groups.name_of(project.settings.home.root, project.name)
    if found.manager:
        slice_name, unit = manager.slice_name(name), f"{name}-{service}-{secrets.token_hex(4)}.scope"
        manager.limit(slice_name, ceilings(limits))
        return replace(
            launch,
            argv=(*manager.run_in(slice_name, unit), *launch.argv),
            groups={each: f"{root}/{slice_name}/{unit}" for each, root in found.manager.items()},
            slice_name=slice_name,
        )
    folders = groups.make(found, name, service.value)
    groups.limit(folders, ceilings(limits))
    return replace(launch, groups=folders)


def apply(run_dir: Path, limits: Limits) -> None:
    """Give the services of a project that were started with limits these ones. Blocking.

    Raises:
        OSError: the kernel or systemd refuses one.
    """
    for run in _runs(run_dir, *Service):
        if slice_name := processes.slice_of(run):
            manager.limit(slice_name, ceilings(limits))
        else:
            groups.limit(processes.groups_of(run), ceilings(limits))


def clear(run_dir: Path, service: Service) -> None:
    """Remove the control groups of a service of which nothing is left, and what systemd keeps of them. Blocking."""
    for run in _runs(run_dir, service):
        if slice_name := processes.slice_of(run):
            manager.forget(slice_name, processes.groups_of(run))
        else:
            groups.remove(processes.groups_of(run).values())


def _runs(run_dir: Path, *services: Service) -> list[identity.Record]:
    folder = identity.real_folder(str(run_dir))
    found = (identity.read_record(identity.RunFiles(folder, each.value).run) for each in services)
    return [run for run in found if run]
