"""Make, limit, measure and remove the control groups of one project.

A project has one group in each hierarchy, which has the limits, and below it one for each service, where the processes
are: so one is not taken for the other, and the kernel's count of whom it killed for want of memory is its own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.engines.local.limits.means import CONTROLLERS, Ceilings, Limit, Means

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.engines.local.limits.means import Available

PERIOD: Final = 100_000
"""Microseconds over which processor time is shared out: the kernel's default."""
_LEAST_QUOTA: Final = 1000
"""Microseconds of it: the kernel takes no less."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_NONE_BELOW: Final = 2**62
"""Bytes from which on the older hierarchy means that there is no limit."""


def name_of(home: Path, project: str) -> str:
    """Return the name of a project's group: managers with other homes have other ones."""
    return f"ocm-{hashlib.sha256(os.fsencode(home)).hexdigest()[:8]}-{project}"


def make(found: Available, name: str, service: str) -> dict[str, str]:
    """Make the groups of a service and of its project; return the service's folders, by controller.

    Raises:
        OSError: one cannot be made.
    """
    made = {}
    for controller, place in found.groups.items():
        group = Path(place.folder, name)
        if place.version == 2:
            _give(Path(place.folder), controller)
        group.mkdir(exist_ok=True)
        if place.version == 2 and controller == CONTROLLERS[Limit.MEMORY]:
            _give(group, controller)  # so that each service's group counts its own kills
        (group / service).mkdir(exist_ok=True)
        made[controller] = str(group / service)
    return made


def _give(folder: Path, controller: str) -> None:
    control = folder / "cgroup.subtree_control"
    if controller not in control.read_text().split():
        control.write_text(f"+{controller}")


def remove(folders: Iterable[str]) -> None:
    """Remove groups of a service, and their project's where it has no other. Those with processes stay."""
    for folder in dict.fromkeys(folders):
        for each in (Path(folder), Path(folder).parent):
            with contextlib.suppress(OSError):
                each.rmdir()


def means(folders: Mapping[str, str]) -> dict[str, Means]:
    """Return by what each controller limits these groups; nothing of one that is gone."""
    found = {}
    for controller, folder in folders.items():
        group = Path(folder).parent
        if (group / "cgroup.procs").exists():
            found[controller] = Means.CGROUP2 if (group / "cgroup.type").exists() else Means.CGROUP1
    return found


def outdated(folders: Mapping[str, str], ceilings: Ceilings, *, but: str = "") -> bool:
    """Tell whether groups have other limits than these; files with a name that begins with `but` do not matter."""
    wanted = _contents(folders, ceilings)
    return any(not _same(_read(path), text) for path, text in wanted if not but or not path.name.startswith(but))


def limit(folders: Mapping[str, str], ceilings: Ceilings) -> None:
    """Give the project of these groups its limits; what runs in them has them at once.

    Raises:
        OSError: the kernel refuses one: of memory, since more is in use that cannot be freed.
    """
    for path, text in _contents(folders, ceilings):
        if _same(_read(path), text):
            continue
        try:
            path.write_text(text)
        except OSError as error:
            # Memory with swap is never less than memory alone: which goes first depends on where they were.
            if error.errno != errno.EINVAL or path.name != "memory.limit_in_bytes":
                raise
            _with_swap(path).write_text(text)
            path.write_text(text)


def _with_swap(path: Path) -> Path:
    return path.with_name("memory.memsw.limit_in_bytes")


def _contents(folders: Mapping[str, str], ceilings: Ceilings) -> list[tuple[Path, str]]:
    """Return what the files of a project's groups are to hold."""
    found: list[tuple[Path, str]] = []
    kinds = means(folders)
    for controller, kind in kinds.items():
        group = Path(folders[controller]).parent
        written = _unified(ceilings) if kind is Means.CGROUP2 else _older(ceilings)
        found += [(group / file, text) for file, text in written[controller] if (group / file).exists()]
    return found


def _unified(ceilings: Ceilings) -> dict[str, list[tuple[str, str]]]:
    memory = "max" if ceilings.memory is None else str(ceilings.memory // _PAGE * _PAGE)
    swap = "max" if ceilings.memory is None else "0"
    return {
        "memory": [("memory.max", memory), ("memory.swap.max", swap)],
        "cpu": [("cpu.max", f"{'max' if ceilings.cpus is None else _quota(ceilings.cpus)} {PERIOD}")],
        "pids": [("pids.max", "max" if ceilings.tasks is None else str(ceilings.tasks))],
    }


def _older(ceilings: Ceilings) -> dict[str, list[tuple[str, str]]]:
    memory = "-1" if ceilings.memory is None else str(ceilings.memory // _PAGE * _PAGE)
    quota = "-1" if ceilings.cpus is None else str(_quota(ceilings.cpus))
    return {
        "memory": [("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", memory)],
        "cpu": [("cpu.cfs_period_us", str(PERIOD)), ("cpu.cfs_quota_us", quota)],
        "pids": [("pids.max", "max" if ceilings.tasks is None else str(ceilings.tasks))],
    }


def _quota(cpus: float) -> int:
    return max(_LEAST_QUOTA, int(cpus * PERIOD))


def _same(there: str, wanted: str) -> bool:
    return there == wanted or (wanted == "-1" and there.isdecimal() and int(there) >= _NONE_BELOW)


def used(folders: Mapping[str, str]) -> dict[Limit, int]:
    """Return what the project of these groups uses now, as far as the kernel tells."""
    files = {
        Limit.MEMORY: ("memory", ("memory.current", "memory.usage_in_bytes")),
        Limit.TASKS: ("pids", ("pids.current",)),
    }
    found = {}
    for each, (controller, names) in files.items():
        for name in names if controller in folders else ():
            if (text := _read(Path(folders[controller]).parent / name)).isdecimal():
                found[each] = int(text)
    return found


def memory_limit(folders: Mapping[str, str]) -> int | None:
    """Return the bytes that the project of these groups may use; None: as many as it likes, or they are gone."""
    group = Path(folders["memory"]).parent if "memory" in folders else None
    for name in ("memory.max", "memory.limit_in_bytes") if group else ():
        if (text := _read(Path(str(group), name))).isdecimal() and int(text) < _NONE_BELOW:
            return int(text)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
