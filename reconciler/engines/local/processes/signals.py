"""Observe what services do besides what they say: processor time, what runs in the background, who is connected.

Both the processes and the connections of this machine are listed once for all services, and seldom. Nothing is guessed:
what cannot be listed is reported as a problem.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from reconciler.core.observed import ActivitySignals
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.keeper.identity import Stat
from reconciler.engines.local.processes import sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from reconciler.core.observed import Probe

_TICKS: Final = os.sysconf("SC_CLK_TCK")
BUSY: Final = 0.05
"""Share of one processor from which a service that says nothing of work is at some: to be probed takes OpenCode up to
0.02 where that is done each second, and a build or an installation takes all of one."""
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9@+._:-]{0,39}")
_INTERPRETERS: Final = re.compile(r"(python|node|bun|deno|ruby|perl|php|(ba|da|z)?sh)[0-9.]*")


@dataclass(frozen=True, kw_only=True)
class Census:
    """The processes and connections of this machine at one moment."""

    at: float
    """CLOCK_BOOTTIME."""
    stats: Mapping[int, Stat]
    children: Mapping[int, Sequence[int]]
    connections: Sequence[tuple[int, int, int]] | None
    """As of `sockets.connections`, but our own calls; None: they cannot be listed."""

    def family(self, heads: Iterable[int]) -> set[int]:
        """Return these processes and their descendants, those that live."""
        found: set[int] = set()
        left = [pid for pid in heads if pid in self.stats]
        while left:
            found.add(pid := left.pop())
            left += (child for child in self.children.get(pid, ()) if child not in found)
        return found


@dataclass(frozen=True, kw_only=True)
class SeenRun:
    """The run of a service that is looked at."""

    heads: frozenset[int]
    """Its leader and its keeper: every process of it descends from one of them."""
    keeper: int | None
    listening: frozenset[int]
    """The processes that were proved to listen: the service itself, also where another one holds it confined."""
    kin: frozenset[int]
    """The services of its project: their connections are no clients."""
    port: int
    started: float = 0.0
    """CLOCK_BOOTTIME."""
    agent: bool = field(default=True)
    """Else a bridge, which starts nothing in the background."""


class Lookout:
    """Looks at services.

    Args:
        every: seconds between two lists of all processes and connections.
        own_ports: returns the local ports of our own calls.
    """

    def __init__(self, every: float, own_ports: Callable[[], set[int]]) -> None:
        self._every = every
        self._own_ports = own_ports
        self._census: Census | None = None
        self._taking = asyncio.Lock()

    async def see(self, subject: SeenRun, probe: Probe, before: Probe) -> Probe:
        """Return the probe with what is known besides: of one that was missed, what was known before."""
        if probe.misses:
            return probe
        census = await self._recent()
        last = before.signals or ActivitySignals()
        if probe.working or probe.written != before.written:
            # The processor time of its conversations says nothing about what goes on besides.
            return replace(probe, signals=ActivitySignals(at=_now()))
        if census.at <= max(last.at, subject.started):
            return replace(probe, signals=before.signals)
        return replace(probe, signals=signals(subject, census, last))

    async def _recent(self) -> Census:
        async with self._taking:
            if self._census is None or _now() - self._census.at >= self._every:
                connections = self._connections()
                self._census = await asyncio.to_thread(_census, connections)
            return self._census

    def _connections(self) -> Sequence[tuple[int, int, int]] | None:
        """List them on the event loop: meanwhile no call of ours begins or ends."""
        try:
            found = sockets.connections()
        except OSError:
            return None
        own = self._own_ports()
        return [one for one in found if one[1] not in own]


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _census(connections: Sequence[tuple[int, int, int]] | None) -> Census:
    stats = {pid: stat for pid in identity.pids() if not (stat := Stat(pid)).ended}
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    return Census(at=_now(), stats=stats, children=children, connections=connections)


def signals(subject: SeenRun, census: Census, last: ActivitySignals) -> ActivitySignals:
    """Return what goes on in a service, given what was seen before."""
    family = census.family(subject.heads)
    if not subject.listening or not subject.listening <= family:
        return ActivitySignals(at=census.at, problem="its processes cannot be seen")
    if census.connections is None:
        return ActivitySignals(at=census.at, problem="the connections of this machine cannot be listed")
    used = sum(_ticks(census.stats[pid], keeper=pid == subject.keeper) for pid in family) / _TICKS
    return ActivitySignals(
        at=census.at,
        used=used,
        busy=_busy(used, census.at, last),
        children=tuple(_name(pid) for pid in _background(subject, census, family)) if subject.agent else (),
        connections=_clients(subject, census.connections),
    )


def _ticks(stat: Stat, *, keeper: bool) -> int:
    return stat.reaped + (0 if keeper else stat.ticks)


def _busy(used: float, at: float, last: ActivitySignals) -> bool | None:
    """Less than before: something of it ended whose time nobody was left to count."""
    if last.used is None:
        return None
    return not 0 <= used - last.used <= BUSY * (at - last.at) + 1 / _TICKS


def _background(subject: SeenRun, census: Census, family: set[int]) -> list[int]:
    """Return the first process of each tree that runs in a session of its own.

    What an agent starts for a command gets its own session (setsid), so that it can be ended as a whole; the helpers
    that belong to an agent as long as it lives (language servers, MCP servers) stay in that of the agent.
    """
    main = set(subject.heads)
    for pid in subject.listening:
        above = pid
        while above in family and above not in main:
            main.add(above)  # also what holds it confined
            above = census.stats[above].parent
    sessions = {census.stats[pid].session for pid in main & census.stats.keys()}
    found = {pid for pid in family - main if census.stats[pid].session not in sessions}
    return sorted(pid for pid in found if census.stats[pid].parent not in found)


def _name(pid: int) -> str:
    """Return what a process is called: never its arguments, which may hold a secret, but a script's own name.

    A program that names itself for people (`npm run dev`) has that in the place of its own name, with spaces.
    """
    first, *rest = identity.read_bytes(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")
    words = [word.rpartition("/")[2] for word in first.split(" ")[:3]]
    if _INTERPRETERS.fullmatch(words[0]) and rest and not rest[0].startswith("-"):
        words = [words[0], rest[0].rpartition("/")[2]]
    shown = [word for word in words if _WORD.fullmatch(word)]
    return " ".join(shown) if shown else f"process {pid}"


def _clients(subject: SeenRun, connections: Sequence[tuple[int, int, int]]) -> int:
    """Count who is connected to the port of a service, but the services of the project themselves."""
    others = {far for near, far, _ in connections if near == subject.port}
    if not others:
        return 0
    ends = {near: inode for near, far, inode in connections if far == subject.port and near in others}
    kin = {inode for pid in subject.kin | subject.listening for inode in _sockets(pid)}
    return sum(ends.get(port) not in kin for port in others)


def _sockets(pid: int) -> Iterable[int]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208  pathlib takes twice as long
    except OSError:
        return
    for name in names:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115
        except OSError:
            continue
        if target.startswith("socket:["):
            yield int(target[8:-1])
