"""What rows about killed processes share: who lives in a world, what must never be seen there, what must hold at rest.

It sees and judges worlds of light projects, and a town of them in which everything happens at once; the rows make the
faults.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes.processes import MARKER
from reconciler.specs import spec_folder
from reconciler.state import published
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from reconciler.state.published import Index
    from tests.support.world import World

SERVICES = ("agent", "bridge")
ROLES = ("start", "stop", "start again", "restart", "destroy")
"""What happens to a project of a town, in this order, and again from the first."""
STEADY = "steady"
"""The project of a town to which nothing happens."""

# -- who lives ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Member:
    """A living process of a world."""

    process: psutil.Process
    role: str
    """leader, offspring (of a leader), keeper, starter (of a leader that it becomes), helper or fork-server."""
    project: str = ""
    service: str = ""
    """Of a keeper, a starter, and a leader that is recorded."""

    @property
    def lives(self) -> bool:
        """Still, and not as a zombie."""
        with contextlib.suppress(psutil.Error):
            return bool(self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE)
        return False


def census(world: World) -> list[Member]:
    """Everybody who lives, controllers excepted."""
    found = []
    for process in world.processes():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            marker = process.environ().get(MARKER, "")  # first: what becomes a service gets both again
            found.append(_member(world, process, marker, process.cmdline()))
    return [member for member in found if member.lives]


def _member(world: World, process: psutil.Process, marker: str, line: list[str]) -> Member:
    if marker:
        project, pid = marker.partition(":")[0], process.pid
        role = "leader" if os.getsid(pid) == pid else "offspring"
        recorded = (name for name in SERVICES if record(world, project, name).get("leader", {}).get("pid") == pid)
        return Member(process=process, role=role, project=project, service=next(recorded, ""))
    place = next((number for number, word in enumerate(line) if word.endswith("/keeper.py")), len(line))
    if place + 2 < len(line):
        project = Path(line[place + 1]).parent.name
        role = "keeper" if os.getsid(process.pid) == process.pid else "starter"
        return Member(process=process, role=role, project=project, service=line[place + 2])
    return Member(process=process, role="helper")


def fork_servers(world: World) -> list[Member]:
    """The fork servers of the controllers, and the keepers that wait in them."""
    with contextlib.suppress(psutil.Error):
        children = [child for one in world.controllers for child in psutil.Process(one.pid).children(recursive=True)]
        return [Member(process=child, role="fork-server") for child in children if "--fork-server" in child.cmdline()]
    return []


def record(world: World, project: str, service: str) -> identity.Record:
    """The run record as it stands in its file; empty when there is none."""
    return identity.read_record(f"{world.home.sandbox(project).run}/{service}.run.json")


def kill(members: Iterable[Member]) -> set[int]:
    """Kill -9; the pids of those who lived."""
    killed = set()
    for member in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.process.pid, signal.SIGKILL)
            killed.add(member.process.pid)
    return killed


# -- what must never be seen -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunHandle:
    """What may not get lost of a project."""

    uid: str
    ports: Mapping[str, int]
    counters: Mapping[str, int]
    """Restarts by service."""


class Witness:
    """Looks at a world whenever it is asked to, and remembers what may not get lost."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.kept: dict[str, RunHandle] = {}
        """By name: a ledger that is lost is noticed."""
        self._may_go: set[str] = set()

    def allow(self, wanted: Mapping[str, Wanted]) -> None:
        """Those of them that are to be gone may go."""
        self._may_go.update(state.uid for state in wanted.values() if state.state == "gone")

    def look(self) -> list[str]:
        """What is wrong whenever it is seen."""
        over = self._over()  # first: who is seen after it was said lives too long
        living = census(self._world)
        late = [member for member in living if member.project in over]
        return [
            *(f"{member.project} is {over[member.project]}, and {member.process} lives" for member in late),
            *self._strays(living),
            *self._memory(),
        ]

    def _over(self) -> dict[str, str]:
        """What is said to be stopped or destroyed, as its spec now wants."""
        published_now, files_now = published.read(self._world.home).projects, spec_folder.scan(self._world.specs).files
        return {
            name: status["reason"]
            for name, status in published_now.items()
            if name in files_now
            and status["spec_version"] == files_now[name].text
            and status["ready"]["status"]
            and status["reason"] in {"Stopped", "Destroyed"}
        }

    def _strays(self, living: list[Member]) -> Iterator[str]:
        """A leader that no record in force names; so also any second copy of a service."""
        for member in living:
            if member.role == "leader" and not member.service and member.lives:
                pids = [record(self._world, member.project, service).get("leader") for service in SERVICES]
                yield f"{member.process} of {member.project} lives, and these are recorded: {pids}"

    def _memory(self) -> Iterator[str]:
        """A ledger or a port that got lost, a port that is another's too, a counter that went down."""
        taken: dict[tuple[str, int], str] = {}
        found = {path.parents[1].name: path for path in self._world.home.sandboxes.glob("*/run/ledger.json")}
        for name in self.kept.keys() | found.keys():
            ledger = files.read_json(found[name]) if name in found else None
            yield from self._lost(name, ledger)
            if ledger is None:
                self.kept.pop(name, None)  # moved to the trash, or said to be lost
                continue
            counters = {service: history["count"] for service, history in ledger["restarts"].items()}
            self.kept[name] = RunHandle(uid=ledger["uid"], ports=dict(ledger["ports"]), counters=counters)
            for key in ledger["ports"].items():
                if key in taken:
                    yield f"{taken[key]} and {name} both have the port {key}"
                taken[key] = name

    def _lost(self, name: str, ledger: Mapping[str, Any] | None) -> Iterator[str]:
        """What was remembered of a project and is so no more."""
        before = self.kept.get(name)
        if before is None or (before.uid in self._may_go and (ledger is None or ledger["uid"] != before.uid)):
            return
        if ledger is None or ledger["uid"] != before.uid:
            yield f"the ledger of {name} with {before} is lost"
            return
        if not before.ports.items() <= ledger["ports"].items():
            yield f"ports of {name} were {before.ports} and are {ledger['ports']}"
        for service, count in before.counters.items():
            if (now := ledger["restarts"].get(service, {}).get("count", 0)) < count:
                yield f"{count} restarts of the {service} of {name} became {now}"


# -- what must hold at rest --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a project is to come to."""

    state: str
    """running, stopped or gone."""
    over: frozenset[str] = frozenset()
    """Runs that must have been replaced."""
    outdated: frozenset[str] = frozenset()
    """Digests of what runs were started with that must have been replaced: after a crash one may begin between the
    request and when that is read."""
    uid: str = ""
    """Of the project that is to be gone: its sandbox is in the trash."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """Pids that must stay, by service."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Restarts that must be counted in the end, by service: no more, no fewer."""
    may_wait: bool = False
    """A service may wait for its next start after a crash."""


def unrest(world: World, wanted: Mapping[str, Wanted]) -> list[str]:
    """What is not, or not yet, as it must be once everything has come to rest."""
    index = published.read(world.home)
    if not world.controllers or index.controller is None or index.controller.pid != world.controllers[-1].pid:
        return ["the controller has published nothing yet"]
    living = census(world)
    found = [f"a helper {member.process.pid} is left" for member in living if member.role == "helper"]
    for name, state in wanted.items():
        members = [member for member in living if member.project == name]
        found += [f"{name}: {problem}" for problem in _unrest_of(world, name, state, members, index)]
    return found


def _unrest_of(world: World, name: str, wanted: Wanted, members: list[Member], index: Index) -> Iterator[str]:
    status = index.projects.get(name)
    if wanted.state == "gone":
        yield from _not_gone(world, name, wanted)
    elif status is None:
        yield "nothing is published"
    elif status["spec_version"] != spec_folder.scan(world.specs).files[name].text:
        yield "its spec was not acted on yet"
    elif not status["ready"]["status"] and not (wanted.may_wait and status["reason"] == "CrashLoop"):
        yield f"is not ready: {status['reason']} {status['message']}"
    elif wanted.state == "running":
        for service in SERVICES:
            waits = wanted.may_wait and status["reason"] == "CrashLoop" and status[service]["state"] == "crashed"
            if not waits:
                yield from _not_running(world, name, service, wanted, members)
                yield from _not_published(world, name, service, status)
            elif [member for member in members if member.service == service]:
                yield f"something of its crashed {service} is left"
        return
    for member in members:
        yield f"its {member.role} {member.process.pid} of the {member.service} is left"


def _not_gone(world: World, name: str, wanted: Wanted) -> Iterator[str]:
    for path in (world.home.sandbox(name).path, spec_folder.spec_path(world.specs, name)):
        if path.exists():
            yield f"{path} is still there"
    if wanted.uid and not list(world.home.trash.glob(f"{name}-*-{wanted.uid[:8]}/{name}/run/ledger.json")):
        yield "its sandbox is not in the trash"


def _not_running(world: World, name: str, service: str, wanted: Wanted, members: list[Member]) -> Iterator[str]:
    run = record(world, name, service)
    if not run:
        yield f"its {service} has no record"
        return
    for role in ("leader", "keeper"):
        there = [member.process.pid for member in members if (member.role, member.service) == (role, service)]
        if there != [run[role]["pid"]]:
            yield f"its {service} has {role}s {there}, and {run[role]['pid']} is recorded"
    if run["run_id"] in wanted.over or run["digest"] in wanted.outdated:
        yield f"its {service} was not replaced"


def _not_published(world: World, name: str, service: str, status: Mapping[str, Any]) -> Iterator[str]:
    published_now = status[service]["pid"], status[service]["state"]
    if published_now != (record(world, name, service).get("leader", {}).get("pid"), "running"):
        yield f"its {service} is published as {published_now}"


def settle(world: World, witness: Witness, wanted: Mapping[str, Wanted]) -> list[str]:
    """Wait until everything is as wanted; what was seen meanwhile that must never be.

    Raises:
        AssertionError: it never is.
    """
    seen: list[str] = []
    rest: list[str] = []
    witness.allow(wanted)

    def look() -> bool:
        seen.extend(witness.look())
        rest[:] = unrest(world, wanted)
        return not rest

    try:
        _ = look() or world.until(look, "a world at rest")
    except AssertionError as error:
        raise AssertionError("\n".join([*seen, *rest, str(error)])) from None
    for name, state in wanted.items():
        for service, pid in state.kept.items():
            if (now := record(world, name, service)["leader"]["pid"]) != pid:
                seen.append(f"{name}: its {service} lived as {pid} and was replaced by {now}")
    return [*seen, *_counted(witness, wanted)]


def _counted(witness: Witness, wanted: Mapping[str, Wanted]) -> Iterator[str]:
    """A restart that was counted though nothing crashed."""
    for name, state in wanted.items():
        for service, count in state.counters.items():
            now = witness.kept[name].counters.get(service, 0) if name in witness.kept else count
            if now > count:  # of the same project it never goes down (`_lost`); one made again begins with none
                yield f"{name}: nothing of it crashed, and {count} restarts of its {service} became {now}"


def pids(world: World, name: str) -> dict[str, int]:
    """Of the leaders of a project as recorded, by service."""
    runs = {service: record(world, name, service) for service in SERVICES}
    return {service: run["leader"]["pid"] for service, run in runs.items() if run}


def runs(world: World, name: str) -> frozenset[str]:
    """The ids of the last runs of a project."""
    return frozenset(record(world, name, service).get("run_id", "") for service in SERVICES)


def uid(world: World, name: str) -> str:
    """What tells a project from a later one of the same name."""
    return str((files.read_json(world.home.sandbox(name).ledger) or {}).get("uid", ""))


# -- a town ------------------------------------------------------------------------------------------------------------


class Town:
    """Five projects that each do another thing at the same time, turn by turn, and one that does nothing."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.witness = Witness(world)
        self.turn = 0
        self.wanted: dict[str, Wanted] = {}

    def found(self) -> None:
        """Bring every project to where its first turn begins."""
        self.world.light(STEADY)
        self.wanted = {STEADY: Wanted(state="running")}
        for name, role in self.roles().items():
            if role != "start":
                stopped = {"state": "stopped"} if role == "start again" else {}
                self.world.light(name, **stopped)
                self.wanted[name] = Wanted(state="stopped" if stopped else "running")
        self.world.start()
        for turn in range(2):
            if seen := settle(self.world, self.witness, self.wanted):
                raise AssertionError("\n".join(seen))
            if turn == 0:  # so that every counter has something to lose
                kill(member for member in census(self.world) if member.role == "leader")

    def roles(self) -> dict[str, str]:
        """Who does what in this turn."""
        return {f"p{slot}": ROLES[(slot + self.turn) % len(ROLES)] for slot in range(len(ROLES))}

    def change(self) -> None:
        """Write all specs of this turn."""
        self.wanted[STEADY] = Wanted(state="running", kept=pids(self.world, STEADY))
        for name, role in self.roles().items():
            if role == "destroy":
                self.wanted[name] = Wanted(state="gone", uid=uid(self.world, name))
                self.world.light(name, state="absent")
            elif role == "stop":
                self.wanted[name] = Wanted(state="stopped")
                self.world.light(name, state="stopped")
            elif role == "restart":
                digests = frozenset(record(self.world, name, service).get("digest", "") for service in SERVICES)
                self.wanted[name] = Wanted(state="running", outdated=digests)
                self.world.light(name, restarted_at=f"turn {self.turn}")
            else:
                self.wanted[name] = Wanted(state="running")
                self.world.light(name)

    def keep(self, *, but: set[int], starting: set[str], crash: bool) -> None:
        """From now on whoever serves stays, except in what is to be stopped; `but` were killed.

        Args:
            but: who cannot stay.
            starting: projects with starters among them, which may have become services before they were killed.
            crash: whether services are among them, which then may wait, and are counted.
        """
        for name in self.wanted:  # one in a session of its own already looks like its keeper
            if any(record(self.world, name, service).get("leader", {}).get("pid") in but for service in SERVICES):
                starting = {*starting, name}
        living = {member.process.pid for member in census(self.world) if member.role == "leader"} - but
        for name, wanted in self.wanted.items():
            kept = {}
            for service in SERVICES if wanted.state == "running" and name != STEADY else ():
                run = record(self.world, name, service)
                if (
                    run
                    and not run["stopping"]
                    and run["digest"] not in wanted.outdated
                    and run["leader"]["pid"] in living
                ):
                    kept[service] = run["leader"]["pid"]
            before = self.witness.kept[name].counters if name in self.witness.kept else {}
            free = (crash or name in starting) and name != STEADY
            counters = {} if free else {service: before.get(service, 0) for service in SERVICES}
            self.wanted[name] = replace(
                wanted,
                kept=wanted.kept if name == STEADY else kept,  # since the turn began
                counters={} if wanted.state == "gone" else counters,
                may_wait=free,
            )

    def settle(self) -> list[str]:
        """Wait until everything is as wanted; what was seen meanwhile that must never be."""
        self.turn += 1
        return settle(self.world, self.witness, self.wanted)
