"""Killed as hard as can be: controllers, keepers and services, at every named point and at random instants."""

from __future__ import annotations

import ast
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.core import actions
from reconciler.engines.local import actions as local_actions
from reconciler.state import published
from reconciler.system import failpoint
from tests.support.battery import (
    ROLES,
    STEADY,
    Town,
    Wanted,
    Witness,
    census,
    fork_servers,
    kill,
    pids,
    runs,
    settle,
    uid,
)
from tests.support.bubblewrap import bubblewrap_or_skip
from tests.support.world import LIGHT_AGENT, PATIENCE, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scoreboard import Score

pytestmark = [pytest.mark.xdist_group("town"), pytest.mark.long]  # one for all rows
PRODUCT = Path(failpoint.__file__).parents[1]
DICE = random.SystemRandom()
ACTIONS = {
    name
    for name, kind in (vars(actions) | vars(local_actions)).items()
    if isinstance(kind, type) and issubclass(kind, actions.Action) and kind is not actions.Action
}
ROUNDS = {"controller": 8, "keepers": 20, "controller and keepers": 20, "fork-server": 2, "agents": 3, "bridges": 3}
"""Of each row in its short form, those that hit nobody not counted; a round is one try of each role that it hits."""
HORIZON = 0.5
"""Seconds that a round takes on an idle machine."""


# -- random instants ---------------------------------------------------------------------------------------------------


@pytest.fixture(name="town", scope="module")
def _town(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]) -> Iterator[Town]:
    with a_world(tmp_path_factory.mktemp("town"), ports) as world:
        town = Town(world)
        town.found()
        yield town
        world.kill()
        kill(census(world))  # faster than asking all of them


@pytest.fixture(name="confined_town", scope="module")
def _confined_town(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]) -> Iterator[Town]:
    """The same, with agents within bubblewrap."""
    bubblewrap_or_skip()
    with a_world(tmp_path_factory.mktemp("confined"), ports) as world:
        world.confine("bubblewrap")
        town = Town(world)
        town.found()
        assert world.status(STEADY)["confinement"] == "bubblewrap"
        yield town
        world.kill()
        kill(census(world))


def strike(town: Town, victims: str) -> int:
    """Kill them, and note who must live on; how many of the projects that something happens to are hit."""
    if "controller" in victims:
        town.world.kill()
    words = {word.removesuffix("s") for word in victims.split()}
    services = not words.isdisjoint({"agent", "bridge"})
    if services:  # half of them, and never the steady one's: the longer a streak of crashes, the longer the back-off
        leaders = [member for member in census(town.world) if member.role == "leader" and member.project != STEADY]
        hit = [member for member in leaders if member.service in words and DICE.random() < 0.5]
    else:
        words |= {"starter"} if "keeper" in words else set()
        hit = [member for member in [*census(town.world), *fork_servers(town.world)] if member.role in words]
    killed = kill(hit)
    town.keep(but=killed, starting={member.project for member in hit if member.role == "starter"}, crash=services)
    projects = {member.project for member in hit if member.process.pid in killed}
    everybody = "controller" in victims or "" in projects  # the fork server's is nobody's alone
    return len(ROLES) if everybody else len(projects - {STEADY})


@pytest.mark.parametrize("victims", ROUNDS)
def test_killed_at_random_instants(town: Town, score: Score, victims: str) -> None:
    """Kill -9 at random instants of start, stop, restart, destroy."""
    strike_often(town, score, victims, len(score.times(ROUNDS[victims], 200)))


@pytest.mark.lane
@pytest.mark.parametrize("victims", ["keepers", "controller and keepers", "agents"])
def test_killed_at_random_instants_within_bubblewrap(confined_town: Town, score: Score, victims: str) -> None:
    """Kill -9 at random instants, of agents within bubblewrap."""
    strike_often(confined_town, score, victims, len(score.times(2, 100)))


def strike_often(town: Town, score: Score, victims: str, wanted: int) -> None:
    """So many rounds that hit somebody."""
    rounds = 0
    for _ in range(10 * wanted):
        moment = DICE.uniform(0.0, HORIZON)
        town.change()
        threading.Event().wait(moment)  # there is no event for a random instant
        hit = strike(town, victims)
        if not town.world.controllers:
            town.world.start()
        for seen in town.settle():
            score.violation(f"{victims} killed {moment:.3f} s after the change of turn {town.turn}: {seen}")
        score.tried(hit)
        rounds += hit > 0
        if rounds == wanted:
            break
    score.expect(rounds == wanted, f"only {rounds} of {10 * wanted} rounds hit anybody")
    if victims in {"agents", "bridges"}:  # also those who waited for their next start
        town.change()
        score.expect(town.settle() == [], "undisturbed again, something is wrong")


# -- named points ------------------------------------------------------------------------------------------------------


def both(*actions: str) -> tuple[str, ...]:
    return tuple(f"{when}:{action}" for action in actions for when in ("before", "after"))


START = ("PrepareSandbox", "WriteSecrets", "CloneRepo", "ProvideToolchain", "ReservePort", "StartService", "AwaitReady")
LIMITED = {"ref": "feature", "restarted_at": "now"}
STORY: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
    ("a first start", {}, both(*START)),
    ("another ref", {"ref": "feature"}, both("CheckoutRef")),
    ("keepers killed", {"ref": "feature"}, both("AdoptService")),
    ("a restart", {**LIMITED, "limits": "{tasks: 900}"}, both("StopService", "StartService")),
    ("another limit", {**LIMITED, "limits": "{tasks: 950}"}, both("ApplyLimits")),
    ("a stop", {"ref": "feature", "state": "stopped"}, both("StopService")),
    ("a start", {"ref": "feature"}, both("StartService")),
    ("a destroy", {"ref": "feature", "state": "absent"}, both("StopService", "MoveToTrash", "RemoveSpec")),
)
"""What happens to a project, and where a controller dies in it, each going on where the one before it died."""
KEEPERS = (
    "before-record",
    "after-record",
    "after-handover",
    "before-answer",
    "after-answer",
    "after-adoption",
)
"""Where keepers and their starters die, in an order that comes to all of them."""
GIVEN = "after-handover"
"""Where a starter dies that only adopted, and is of no use any more: nothing comes of it."""
FAILED = {"StartServiceFailed", "AdoptServiceFailed", "NotConverging"}
"""What a controller publishes whose keepers die."""
CRASHED = {"CrashLoop"}
"""What it publishes when starters die that have handed everything over: to it, that is a service that crashes."""
KEY = both("GenerateKey")
"""Where a controller dies that makes a key."""
ANSWER = both("Answer")
"""Where a controller dies that answers an agent: in `e2e/test_needs.py`."""
NPM = """#!/bin/sh
for last; do :; done
folder="$3/node_modules/${last%@*}/bin"
mkdir -p "$folder" && cp AGENT "$folder/opencode"
"""
"""A stand-in for npm: the agent it provides is our light one."""


def prepare(world: World) -> None:
    """A world in which an agent can be provided without a network."""
    npm = world.root / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(NPM.replace("AGENT", str(LIGHT_AGENT)))
    npm.chmod(0o755)
    world.environment["PATH"] = f"{npm.parent}:{Path(sys.executable).parent}:{world.environment['PATH']}"


def die_at(world: World, point: str) -> None:
    """Start a controller that dies at this point, and wait until it did."""
    world.environment[failpoint.VARIABLE] = point
    controller = world.start()
    del world.environment[failpoint.VARIABLE]
    try:
        code = controller.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        code = None
    assert code == -signal.SIGKILL, f"it never came to {point}\n{world.story()}"
    world.controllers.clear()


def tell(world: World, name: str, story: str, fields: dict[str, str]) -> Wanted:
    """Ask for a part of the story; what must come of it."""
    git = f"git: {{url: {world.origin}, ref: {fields.get('ref', 'null')}}}"
    agent = f"agent: {{version: 1.0.{name.removeprefix('app')}}}"  # another one each time, so that it is provided
    rest = [f"{key}: {value}" for key, value in fields.items() if key != "ref"]
    world.write(name, "\n".join([git, agent, *rest]) + "\n")
    match story:
        case "a stop":
            return Wanted(state="stopped")
        case "a destroy":
            return Wanted(state="gone", uid=uid(world, name))
        case "a restart":
            return Wanted(state="running", over=runs(world, name))
        case "keepers killed":
            kill(member for member in census(world) if member.role == "keeper")
    return Wanted(state="running", kept={} if story.endswith("start") else pids(world, name))


def parts(*, full: bool) -> Iterator[tuple[str, dict[str, str], tuple[str, ...]]]:
    """Of the story; in the short form a controller dies once at each point, in the long form whenever it gets there."""
    died: set[str] = set()
    for story, fields, points in STORY:
        fresh = tuple(point for point in points if full or point not in died)
        died.update(points)
        if fresh:
            yield story, fields, fresh


def points(path: Path) -> Iterator[str]:
    """The names of the crash points in a file of the product; of those around any action, one for each action."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"failpoint.point", "point"}:
            name = ast.unparse(node.args[0]).removeprefix("f").strip("'")
            for action in ACTIONS:
                yield name.replace("{type(action).__name__}", action)


def test_no_crash_point_is_forgotten(score: Score) -> None:
    """Every crash point there is in the product is one that somebody is killed at here, and no other is."""
    tried = {point for _, _, story in STORY for point in story} | {*KEEPERS, *KEY, *ANSWER, GIVEN}
    there = {point for path in PRODUCT.rglob("*.py") for point in points(path)}
    score.tried(len(there))
    score.expect(there == tried, f"forgotten: {there - tried}; not in the product: {tried - there}")


def test_the_controller_killed_between_all_actions(process_world: World, score: Score) -> None:
    """Kill -9 of the controller at every named point."""
    world = process_world
    prepare(world)
    witness = Witness(world)
    for turn in score.times(1, 10):
        name = f"app{turn}"
        for story, fields, points in parts(full=score.full):
            wanted = tell(world, name, story, fields)
            witness.allow({name: wanted})
            for point in points:
                die_at(world, point)
                score.tried()
                for seen in witness.look():
                    score.violation(f"{story}, killed at {point}: {seen}")
            world.start()
            for seen in settle(world, witness, {name: wanted}):
                score.violation(f"after {story}: {seen}")
            world.kill()


def test_a_key_that_is_made_when_the_controller_is_killed(world: World, score: Score) -> None:
    """Kill -9 of the controller before and after it makes a key."""
    world.write("app", "git: {url: 'ssh://git@127.0.0.1:1/x.git'}\n")
    for point in KEY:
        die_at(world, point)
        score.tried()
    world.start()
    world.wait("app", lambda status: status["reason"] == "GitUnreachable")
    key = world.home.deploy_key("app")
    made = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
    score.expect(made.split()[:2] == key.with_suffix(".pub").read_text().split()[:2], "the key is not whole")
    score.expect(len(list(world.home.keys.iterdir())) == 2, f"there is {list(world.home.keys.iterdir())}")


def test_keepers_killed_between_all_steps(process_world: World, score: Score) -> None:
    """Kill -9 of keepers at every named point."""
    world = process_world
    witness = Witness(world)
    for turn in score.times(1, 30):
        name = f"app{turn}"
        world.light(name)
        for point in KEEPERS:
            die_holding(world, name, point)
            score.tried()
            for seen in witness.look():
                score.violation(f"keepers killed at {point}: {seen}")
        kept = {"agent": pids(world, name)["agent"]}
        world.environment[failpoint.VARIABLE] = GIVEN
        world.start()
        del world.environment[failpoint.VARIABLE]
        score.tried()
        for seen in settle(world, witness, {name: Wanted(state="running", kept=kept)}):
            score.violation(f"after keepers were killed: {seen}")
        wanted = Wanted(state="gone", uid=uid(world, name))
        world.light(name, state="absent")
        score.expect(settle(world, witness, {name: wanted}) == [], "it was not destroyed in order")
        world.kill()


def die_holding(world: World, name: str, point: str) -> None:
    """Start a controller whose keepers all die at this point, and end it when it has published that."""
    world.environment[failpoint.VARIABLE] = point
    controller = world.start()
    del world.environment[failpoint.VARIABLE]

    def failed() -> bool:
        index = published.read(world.home)
        mine = index.controller is not None and index.controller.pid == controller.pid
        wanted = CRASHED if point == GIVEN else FAILED
        return mine and index.projects.get(name, {}).get("reason") in wanted

    world.until(failed, f"a keeper that dies at {point}")
    world.kill()
