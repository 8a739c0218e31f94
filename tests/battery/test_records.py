"""Files of ours that are broken: the published index, ledgers, exit records, cut at any byte or of another version."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler import settings
from reconciler.engines.local.keeper import identity
from reconciler.state import published
from reconciler.state.ledger import Ledgers
from reconciler.system import files
from tests.support.battery import SERVICES, Member, census, kill, pids
from tests.support.scoreboard import FREE
from tests.support.world import PATIENCE, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scoreboard import Score
    from tests.support.world import Status


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


# -- the index ---------------------------------------------------------------------------------------------------------


def test_a_broken_index(world: World, score: Score) -> None:
    """An index cut at any byte, of an older or of a newer version is made again, and restarts nothing."""
    world.light("app")
    world.start()
    before = world.ready("app")
    text = world.home.state_file.read_bytes()
    whole = text.rstrip()  # without its last newline it is as good
    document = json.loads(whole)
    cut = world.root / "cut"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        score.expect(files.read_json(cut) is None, f"cut at {length} it is taken for whole")
    spoilt = [whole[:length] for length in range(0, len(whole), 1 if score.full else 97)]
    spoilt += [json.dumps(document | {"schema": schema}).encode() for schema in (0, -1, 99, None, "1")]
    spoilt += [b"[]", b"\0" * 4096, json.dumps(document | {"projects": 1}).encode()]
    for turn, data in enumerate(spoilt):
        score.tried()
        world.home.state_file.write_bytes(data)
        shown = world.run("list", code=None) if turn % 10 == 0 else ""
        score.expect("Traceback" not in shown, f"list says {shown[-300:]}")
        if turn % 12 == 11:
            world.kill()
            world.start()
        world.light("app", **({} if turn % 2 else {"discard_unpushed": "false"}))
        world.until(lambda: fixed(world, "app"), "the index to be made again")
        after = world.status("app")
        score.expect(after["agent"]["pid"] == before["agent"]["pid"], f"after {data[-40:]!r}: the agent was restarted")
        score.expect(after["agent"]["restarts"] == 0, "a restart was counted")


def fixed(world: World, name: str) -> bool:
    """Whether the index is whole, of our version, of a controller that runs, and says that the project is ready."""
    ours = (files.read_json(world.home.state_file) or {}).get("schema") == published.SCHEMA
    with contextlib.suppress(settings.UserError):
        index = published.read(world.home)
        return ours and index.running and name in index.projects and is_ready(dict(index.projects[name]))
    return False


# -- ledgers and exit records ------------------------------------------------------------------------------------------

HOUSES = 6
"""Projects whose records are cut at the same time, each at another byte."""


class Row:
    """Running projects, one of which is stopped; each has crashed once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.names = [f"p{number}" for number in range(HOUSES)]
        self.wanted = dict.fromkeys(self.names, "Running") | {self.names[-1]: "Stopped"}
        for name in self.names:
            world.light(name)
        world.start()
        for name in self.names:
            world.ready(name)
        kill(self.leaders("agent"))
        self.come_to_rest(dict.fromkeys(self.names, 1))
        world.light(self.names[-1], state="stopped")
        world.wait(self.names[-1], lambda status: status["reason"] == "Stopped")

    def leaders(self, service: str) -> list[Member]:
        """Who serves."""
        return [member for member in census(self.world) if member.role == "leader" and member.service == service]

    def come_to_rest(self, restarts: dict[str, int] | None = None) -> None:
        """Wait until this controller has looked at all of them, and each is as wanted."""
        [controller] = self.world.controllers

        def rest() -> bool:
            index = published.read(self.world.home)
            mine = index.controller is not None and index.controller.pid == controller.pid
            return mine and all(
                name in index.projects
                and index.projects[name]["ready"]["status"]
                and index.projects[name]["agent"]["restarts"] >= (restarts or {}).get(name, 0)
                for name in self.names
            )

        self.world.until(rest, "a row at rest")

    def start_over(self) -> None:
        """A new controller, until everything is at rest."""
        self.world.start()
        self.come_to_rest()

    def services(self) -> dict[str, dict[str, int]]:
        """Who lives, by project and service."""
        found: dict[str, dict[str, int]] = {name: {} for name in self.names}
        for service in SERVICES:
            for member in self.leaders(service):
                found[member.project][service] = member.process.pid
        return found

    def kept(self) -> dict[str, list[tuple[int, int]]]:
        """Ports and restarts as published, also of what is stopped."""
        statuses = {name: self.world.status(name) for name in self.names}
        return {
            name: [(statuses[name][service]["port"], statuses[name][service]["restarts"]) for service in SERVICES]
            for name in self.names
        }


@pytest.fixture(name="row", scope="module")
def _row(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], confinement: str) -> Iterator[Row]:
    with a_world(tmp_path_factory.mktemp("row"), ports) as world:
        world.confine(confinement)
        row = Row(world)
        assert world.status(row.names[0])["confinement"] == confinement
        yield row
        world.kill()
        kill(census(world))  # faster than asking all of them


def cuts(size: int, rounds: range) -> Iterator[list[int]]:
    """For each round where to cut each file of this size; all of it is covered."""
    places = HOUSES * len(rounds)
    for turn in rounds:
        yield [(turn + len(rounds) * house) * size // places for house in range(HOUSES)]


@pytest.mark.xdist_group("records")
def test_a_broken_ledger(row: Row, score: Score) -> None:
    """A ledger cut at any byte while no controller lives: no restart, ports and counts are kept, and it is told."""
    world, living, kept = row.world, row.services(), row.kept()
    size = min(len(world.home.sandbox(name).ledger.read_bytes().rstrip()) for name in row.names)
    for places in cuts(size, score.times(2, 150)):
        world.kill()
        for name, place in zip(row.names, places, strict=True):
            path = world.home.sandbox(name).ledger
            path.write_bytes(path.read_bytes()[:place])
            score.tried()
        row.start_over()
        score.expect(row.services() == living, f"cut at {places}: {living} became {row.services()}")
        score.expect(row.kept() == kept, f"cut at {places}: kept was {kept} and is {row.kept()}")
        for name, reason in row.wanted.items():
            status = world.status(name)
            score.expect(status["reason"] == reason, f"{name} is {status['reason']}")
            score.expect("ledger.json was broken" in str(status["warnings"]), f"the loss of {name} is not told")


@pytest.mark.xdist_group("records")
def test_a_broken_exit_record(row: Row, score: Score) -> None:
    """An exit record cut at any byte while no controller lives: started once, counted once, with an unknown cause."""
    world = row.world
    for turn in score.times(1, 4):
        row.come_to_rest()
        counts = {name: world.status(name)["agent"]["restarts"] for name in row.names}
        bridges = {member.process.pid for member in row.leaders("bridge")}
        world.kill()
        keepers = [member.process for member in census(world) if member.role == "keeper" and member.service == "agent"]
        killed = kill(row.leaders("agent"))
        _, left = psutil.wait_procs(keepers, timeout=PATIENCE)
        assert not left
        for name, place in zip(row.names, next(cuts(200 - 40 * turn, range(1))), strict=True):
            path = world.home.sandbox(name).run / "agent.exit.json"
            path.write_bytes(path.read_bytes()[:place])
            score.tried()
        world.start()
        row.come_to_rest({name: count + (row.wanted[name] == "Running") for name, count in counts.items()})
        for name, reason in row.wanted.items():
            found = world.status(name)
            now = counts[name] + (reason == "Running")
            score.expect(found["agent"]["restarts"] == now, f"{name}: {found['agent']['restarts']} restarts, not {now}")
            score.expect(found["agent"]["last_exit"] or reason == "Stopped", f"{name}: no cause is told")
            score.expect(len(pids(world, name)) == 2, f"{name}: records of {pids(world, name)}")
        agents = [member.process.pid for member in row.leaders("agent")]
        score.expect(len(agents) == HOUSES - 1 and killed.isdisjoint(agents), f"agents: {agents}")
        score.expect({member.process.pid for member in row.leaders("bridge")} == bridges, "a bridge was restarted")


@pytest.mark.xdist_group("records")
@pytest.mark.parametrize("confinement", ["none"], ids=[FREE], indirect=True)  # no process has a share in it
def test_no_part_of_a_record_is_taken_for_all_of_it(row: Row, score: Score) -> None:
    """Ledgers, run and exit records cut at every byte are taken for lost; a ledger is set aside, not overwritten."""
    row.world.kill()
    sandbox = row.world.home.sandbox("p0")
    for path in (sandbox.run / "agent.run.json", sandbox.run / "agent.exit.json"):
        whole = path.read_bytes().rstrip()  # what follows is blank
        for length in range(len(whole)):
            score.tried()
            path.write_bytes(whole[:length])
            score.expect(not identity.read_record(str(path)), f"cut at {length} {path.name} is taken for whole")
        path.write_bytes(whole)
        score.expect(identity.read_record(str(path)), f"{path.name} is not read whole")
    whole = sandbox.ledger.read_bytes().rstrip()
    for length in range(len(whole)):
        score.tried()
        sandbox.ledger.write_bytes(whole[:length])
        before = set(sandbox.run.glob("ledger.broken-*.json"))
        ledgers = Ledgers(row.world.home)
        ledgers.get("p0")
        score.expect("was broken" in ledgers.damage("p0"), f"cut at {length} a ledger is taken for whole")
        [aside] = set(sandbox.run.glob("ledger.broken-*.json")) - before
        score.expect(aside.read_bytes() == whole[:length], f"cut at {length} the ledger was not set aside")
        aside.unlink()
    sandbox.ledger.write_bytes(whole)
    ledgers = Ledgers(row.world.home)
    score.expect(ledgers.get("p0") is not None and not ledgers.damage("p0"), "the whole ledger is not read")
