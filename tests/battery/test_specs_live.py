"""Spec faults before a running controller: poison beside a project that runs, masses, lost events, an empty folder."""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

from reconciler.api import client
from reconciler.settings import load
from reconciler.specs import spec_folder
from reconciler.state import published
from tests.battery.test_specs import POISON
from tests.support.faults import start_impatient
from tests.support.world import Status, World, git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.scoreboard import Score


CHANGES = 20_000
"""More than the kernel keeps for a watch that is not read: 16,384 by default."""


ENOUGH = 200
"""Of a thousand that must still wait when a wish is made, or it overtakes nobody."""


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


def settled(world: World, names: list[str]) -> bool:
    """Whether the controller has dealt with these files as they are now."""
    projects = published.read(world.home).projects
    for name in names:
        path = spec_folder.spec_path(world.specs, name)
        wanted = spec_folder.token_of(path.stat()).text if path.exists() else ""
        if name not in projects or projects[name]["spec_version"] != wanted:
            return False
    return True


def stopped(world: World, name: str, ref: str) -> None:
    """A spec that starts no process, with something in it that can be recognised."""
    world.write(name, f"state: stopped\ngit: {{url: {world.origin}, ref: {ref}}}\n")


def refs(world: World) -> dict[str, str]:
    """What is published of those."""
    return {name: str(status["git_ref"]) for name, status in published.read(world.home).projects.items()}


def test_a_controller_among_poison(world: World, score: Score) -> None:
    """With poison and droppings of every kind in the folder, a running agent is left alone and edits are served."""
    world.light("app")
    world.start()
    before = world.ready("app")
    droppings(world)
    for number, data in enumerate(POISON.values()):
        world.specs.joinpath(f"bad-{number}.yaml").write_bytes(data)
    names = [f"bad-{number}" for number in range(len(POISON))]
    world.until(lambda: settled(world, names), "all of the poison to be looked at")
    for name in names:
        score.tried()
        score.expect(world.status(name)["reason"] == "SpecInvalid", f"{name} is {world.status(name)['reason']}")
    for name, data in POISON.items():
        if score.full or name in {"billion laughs", "one megabyte"}:
            world.specs.joinpath("app.yaml").write_bytes(data)
            status = world.wait("app", lambda status: status["reason"] == "SpecInvalid" and settled(world, ["app"]))
            score.tried()
            score.expect(status["agent"]["pid"] == before["agent"]["pid"], f"{name}: the agent was restarted")
    world.light("app", restarted_at="again")
    after = world.wait("app", lambda status: is_ready(status) and status["generation"] == before["generation"] + 1)
    score.tried()
    score.expect(after["agent"]["pid"] != before["agent"]["pid"], "an edit was not served")
    known = set(published.read(world.home).projects)
    score.expect(known == {"app", "folder", "pipe", "nowhere", "loop", *names}, f"taken for projects: {known}")
    warnings = " ".join(warnings_of(world))
    for name in ("app.yml", "App.yaml", "app.YAML"):
        score.expect(name in warnings, f"nothing is said about {name}: {warnings}")


def droppings(world: World) -> None:
    """What editors, copies and accidents leave in the folder; some claim the name of a project."""
    tombstone = f"git: {{url: {world.origin}}}\nstate: absent\n"
    names = ["app.yaml~", ".app.yaml.swp", "app.yaml.bak", "4913", "#app.yaml#", "app.yaml.orig", ".app.yaml.un~"]
    names += [
        "app.yml",
        "App.yaml",
        "app.YAML",
        "app .yaml",
        "app.yaml.yaml",
        "a\u0440p.yaml",
    ]
    for name in names:
        world.specs.joinpath(name).write_text(tombstone)
    world.specs.joinpath(".#app.yaml").symlink_to("somebody@somewhere.1234:5678")
    world.specs.joinpath("folder.yaml").mkdir()
    os.mkfifo(world.specs / "pipe.yaml")
    world.specs.joinpath("nowhere.yaml").symlink_to("/nonexistent/x.yaml")
    world.specs.joinpath("loop.yaml").symlink_to("loop.yaml")


def warnings_of(world: World) -> tuple[str, ...]:
    controller = published.read(world.home).controller
    return (*controller.warnings, *controller.notes) if controller else ()


def test_a_name_that_is_no_text(world: World, score: Score) -> None:
    """A file whose name is not UTF-8 is named in a warning, and the controller goes on."""
    world.light("app")
    controller = world.start()
    world.ready("app")
    score.tried()
    world.specs.joinpath(os.fsdecode(b"app\xff.yaml")).write_text("git: {url: x}\n")
    world.until(lambda: "not readable text" in " ".join(warnings_of(world)), "a warning")
    world.light("app", restarted_at="again")
    world.wait("app", lambda status: is_ready(status) and status["generation"] == 2)
    score.expect(controller.poll() is None, "the controller ended")


def test_a_thousand_at_once(world: World, score: Score) -> None:
    """A wish of a person made while a thousand specs change is served before the thousand."""
    names = [f"p{number}" for number in range(1000)]
    for name in names:
        stopped(world, name, "first")
    stopped(world, "mine", "first")
    settings = load(environment=world.environment)
    world.start()
    world.until(lambda: settled(world, [*names, "mine"]), "the start")
    wanted = len(score.times(1, 10))
    for turn in range(10 * wanted):
        for name in names:
            stopped(world, name, f"turn-{turn}")
        world.until(lambda turn=turn: to_do(world, turn) < len(names), "the first of them")  # type: ignore[misc]
        client.restart(settings, "mine")
        world.until(lambda: settled(world, ["mine"]), "the wish")
        # By the times of the file and of the controller: while we write and look, it serves hundreds of others.
        before = to_do(world, turn, at=world.specs.joinpath("mine.yaml").stat().st_mtime)
        left = to_do(world, turn, at=world.status("mine")["observed"])
        if before >= ENOUGH:
            score.tried()
            score.expect(left > before / 2, f"it waited while {before - left} of {before} others were served")
        world.until(lambda: settled(world, [*names, "mine"]), "all of the thousand")
        if score.tries == wanted:
            break
    assert not score.violations


def to_do(world: World, turn: int, at: float = float("inf")) -> int:
    """How many of the thousand are not yet, or were not at some moment, as they are wanted this time."""
    statuses = published.read(world.home).projects.values()
    return 1000 - sum(bool(status["git_ref"] == f"turn-{turn}" and status["observed"] <= at) for status in statuses)


def test_back_and_forth(world: World, score: Score) -> None:
    """A specs repository checked out back and forth ends as it is in the end, and what is the same in both lives on."""
    git(world.specs, "init", "-q", "-b", "main")
    world.light("app")
    names = [f"p{number}" for number in range(20)]
    for name in names:
        stopped(world, name, "main")
    git(world.specs, "add", ".")
    git(world.specs, "commit", "-q", "-m", "One way")
    git(world.specs, "switch", "-q", "-c", "other")
    for name in names:
        stopped(world, name, "other")
    git(world.specs, "rm", "-q", "-f", "p0.yaml", "p1.yaml")
    git(world.specs, "commit", "-q", "-a", "-m", "The other way")
    world.start()
    before = world.ready("app")
    for turn in score.times(8, 50):
        branch = ("main", "other")[turn % 2]
        git(world.specs, "switch", "-q", branch)
        score.tried()
        if turn % 4 > 1:  # else on to the next at once
            there = [name for name in names if world.specs.joinpath(f"{name}.yaml").exists()]
            world.until(lambda there=there: settled(world, there), f"turn {turn}")  # type: ignore[misc]
            wrong = {name for name in there if refs(world)[name] != branch}
            score.expect(not wrong, f"turn {turn}: not as on {branch}: {wrong}")
    score.expect(world.ready("app")["agent"]["pid"] == before["agent"]["pid"], "the agent was restarted")
    score.expect(world.ready("app")["generation"] == 1, "its spec was taken for another")


def test_events_lost(world: World, score: Score) -> None:
    """A controller that was stopped while thousands of changes overran its watch ends with the last content."""
    names = [f"p{number}" for number in range(50)]
    for name in names:
        stopped(world, name, "first")
    world.light("app")
    controller = world.start()
    before = world.ready("app")
    world.until(lambda: settled(world, names), "the start")
    controller.send_signal(signal.SIGSTOP)
    turns = CHANGES // len(names)
    for turn in range(turns):
        for name in names:
            stopped(world, name, f"turn-{turn}")
            score.tried()
    controller.send_signal(signal.SIGCONT)
    world.until(lambda: settled(world, names), "all to be looked at")
    wrong = {name: ref for name, ref in refs(world).items() if name != "app" and ref != f"turn-{turns - 1}"}
    score.expect(not wrong, f"not the last content: {wrong}")
    score.expect(world.status("app")["agent"]["pid"] == before["agent"]["pid"], "the agent was restarted")


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def replaced(folder: Path) -> None:
    shutil.rmtree(folder) if not folder.is_symlink() else folder.unlink()
    folder.mkdir()


def linked(folder: Path) -> None:
    folder.rename(folder.with_name(f"elsewhere-{time.time_ns()}"))
    nothing = folder.with_name(f"nothing-{time.time_ns()}")
    nothing.mkdir()
    folder.symlink_to(nothing.name)


def test_the_folder_emptied(world: World, score: Score) -> None:
    """A specs folder that is suddenly empty stops nothing until it is confirmed; when it is back, all is as before."""
    for name in ("one", "two"):
        world.light(name)
    world.start()
    pids = {name: world.ready(name)["agent"]["pid"] for name in ("one", "two")}
    ways = [replaced, emptied, linked]
    for turn in score.times(1, 9):
        kept = shutil.copytree(world.specs, world.root / f"kept-{turn}")
        ways[turn % 3](world.specs)
        for name, pid in pids.items():
            score.tried()
            held = world.wait(name, lambda status: status["reason"] == "SpecMissing")
            score.expect(held["agent"]["pid"] == pid, f"{name} was stopped")
            score.expect("confirm" in held["message"], f"what to do is not said: {held['message']}")
        if turn % 2:
            world.kill()
            world.start()
        if turn + 1 < len(score.times(1, 9)):
            for path in kept.iterdir():
                shutil.copy(path, world.specs)
            for name, pid in pids.items():
                score.expect(world.ready(name)["agent"]["pid"] == pid, f"{name} was restarted when its spec came back")
    world.run("confirm-missing")
    for name in pids:
        world.wait(name, lambda status: status["reason"] == "Stopped")
        score.expect(world.home.sandbox(name).repo.is_dir(), f"the sandbox of {name} is gone")


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def closed(folder: Path) -> None:
    folder.chmod(0)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def test_links(world: World, score: Score) -> None:
    """The folder, then a spec in it, are links: a new target is served, and an edit of it, though no event tells."""
    start_impatient(world, resync=3600, poll=0.5)
    world.light("app")
    generation = world.wait("app", is_ready)["generation"]
    text = world.specs.joinpath("app.yaml").read_text()
    first, second, target, link = (world.root / name for name in ("first", "second", "app.yaml", "link"))
    world.specs.rename(first)
    world.specs.symlink_to(first)

    def lead(place: Path, to: Path) -> None:
        link.symlink_to(to)
        link.rename(place)

    def another_folder() -> None:
        second.mkdir()
        second.joinpath("app.yaml").write_text(f"{text}restarted_at: one\n")
        lead(world.specs, second)

    def a_link() -> None:
        target.write_text(f"{text}restarted_at: two\n")
        lead(world.specs / "app.yaml", target)

    def its_target() -> None:
        target.write_text(f"{text}restarted_at: three\n")

    for change in (another_folder, a_link, its_target):
        score.tried()
        change()
        generation += 1
        world.wait("app", lambda status, want=generation: is_ready(status) and status["generation"] == want)  # type: ignore[misc]


def test_the_folder_unreadable(world: World, score: Score) -> None:
    """A specs folder that is gone, closed or a file stops nothing and is told; when it is back, edits are served."""
    start_impatient(world, obeying=True, resync=3600, poll=1)
    for turn in score.times(3, 9):
        world.light("app", restarted_at=f"turn-{turn}")
        before = world.wait("app", lambda status, turn=turn: is_ready(status) and status["generation"] == turn + 1)  # type: ignore[misc]
        (closed, gone, a_file)[turn % 3](world.specs)
        score.tried()
        world.until(lambda: "cannot read the specs folder" in " ".join(warnings_of(world)), "a warning")
        score.expect(world.status("app")["agent"]["pid"] == before["agent"]["pid"], "the agent was restarted")
        if world.specs.is_file():
            world.specs.unlink()
        world.specs.mkdir(exist_ok=True)
        world.specs.chmod(0o700)
        if turn % 3 == 0:
            world.until(lambda: not warnings_of(world), "the warning to go")
