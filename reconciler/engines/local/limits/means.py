"""Decide by what each limit of a project is enforced: pure.

A limit of the kernel is hard: nothing in the tree gets over it. What is only measured now and then is soft.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Limit(StrEnum):
    """What is limited, by its key in the spec."""

    MEMORY = "memory"
    CPUS = "cpus"
    TASKS = "tasks"


class Means(StrEnum):
    """By what a limit is enforced, for people."""

    MANAGER = "systemd"
    CGROUP2 = "cgroup v2"
    CGROUP1 = "cgroup v1"
    WATCHDOG = "a watchdog (soft)"
    NOTHING = "nothing"

    @property
    def hard(self) -> bool:
        """Whether nothing in the tree gets over the limit."""
        return self in {Means.MANAGER, Means.CGROUP2, Means.CGROUP1}


CONTROLLERS: Final = {Limit.MEMORY: "memory", Limit.CPUS: "cpu", Limit.TASKS: "pids"}
"""The kernel's names."""
MEASURED: Final = frozenset({Limit.MEMORY, Limit.TASKS})
"""What a watchdog can judge: processors are used over their share or not, and to end an agent for that helps nobody."""


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """The limits of one project; None: without."""

    memory: int | None = None
    """Bytes."""
    cpus: float | None = None
    tasks: int | None = None

    def items(self) -> Iterator[tuple[Limit, float]]:
        """Yield those that are set."""
        for limit in Limit:
            if (value := getattr(self, limit.value)) is not None:
                yield limit, value


@dataclass(frozen=True, kw_only=True)
class GroupPlace:
    """Where groups of one controller can be made."""

    folder: str
    version: int


@dataclass(frozen=True, kw_only=True)
class Available:
    """What a probe of this machine found."""

    groups: Mapping[str, GroupPlace] = field(default_factory=dict)
    """By controller."""
    manager: Mapping[str, str] = field(default_factory=dict)
    """Where systemd's own root group is, by controller that it limits for us; empty where it does not run for us."""


def choose(ceilings: Ceilings, found: Available) -> dict[Limit, Means]:
    """Return by what each limit that is set would be enforced from the next start on."""
    return {limit: _means(limit, found) for limit, _ in ceilings.items()}


def _means(limit: Limit, found: Available) -> Means:
    if found.manager and CONTROLLERS[limit] in found.manager:
        return Means.MANAGER
    # Groups that are not systemd's are not made where it runs: it may move what is in them.
    place = None if found.manager else found.groups.get(CONTROLLERS[limit])
    if place is not None:
        return Means.CGROUP2 if place.version == 2 else Means.CGROUP1
    return Means.WATCHDOG if limit in MEASURED else Means.NOTHING


def refusal(name: str, chosen: Mapping[Limit, Means]) -> str:
    """Return why a project whose limits are required cannot be started; empty where it can."""
    soft = [f"limits.{limit}" for limit, means in chosen.items() if not means.hard]
    if not soft:
        return ""
    return (
        f"cannot enforce {', '.join(soft)} of {name}: this user can use neither systemd nor a cgroup here; run "
        "the manager as root or in a delegated cgroup, or set limits.required: false"
    )


def size(count: int) -> str:
    """Return a number of bytes for people: `2GiB`, `1.5GiB`, `300MiB`."""
    unit, scale = ("GiB", 2**30) if count >= 2**30 else ("MiB", 2**20)
    return f"{round(count / scale, 1):g}{unit}"
