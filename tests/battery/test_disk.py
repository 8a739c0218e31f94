"""Disk faults: full, read-only, a broken index, and folders that are deleted, replaced, linked away or closed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.specs import spec_folder
from reconciler.state import published
from reconciler.system import files
from tests.conftest import SHARE_VARIABLE
from tests.support.battery import pids
from tests.support.faults import SmallDisk, copies, read_only, self_made, start_impatient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.scoreboard import Score
    from tests.support.world import Status, World

INSIDE = "OCM_BATTERY_INSIDE"
"""Set within the namespace that an ordinary user needs for mounting."""


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


def want(world: World, name: str, **fields: str) -> None:
    """The spec of a project that can be made from it alone; the same again is a wish to look now."""
    world.write(name, f"git: {{url: {world.origin}}}\n" + "".join(f"{key}: {value}\n" for key, value in fields.items()))


@pytest.fixture(name="own")
def _own(world: World) -> World:
    """A world whose projects need nothing but a spec."""
    self_made(world)
    return world


@pytest.fixture(name="disk")
def _disk(own: World, ports: tuple[range, range], request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A small disk below the home. An ordinary user runs the test in a namespace of his own, where he may mount."""
    if os.geteuid() != 0 and INSIDE not in os.environ:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
        command += [f"--basetemp={own.root / 'inside'}", *(["--full"] if request.config.getoption("--full") else [])]
        done = subprocess.run(
            ["unshare", "-Urm", *command],
            env={**os.environ, INSIDE: "1", SHARE_VARIABLE: str(ports[0][0] - 4100)},
            cwd=request.config.rootpath,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        request.getfixturevalue("score").tried()
        pytest.skip("passed in a namespace, as an ordinary user may not mount")
    disk = SmallDisk(own.home.root)
    own.confine("none")  # the settings of before are below it
    try:
        yield disk
    finally:
        own.close()
        disk.close()


def halves(world: World) -> list[str]:
    """Files that are not whole, and what unfinished writes left under names that nobody uses again."""
    found = [str(path) for path in world.home.root.rglob(".*.tmp") if path.is_file()]
    for path in [*world.home.sandboxes.glob("*/run/*.json"), world.home.state_file]:
        with contextlib.suppress(FileNotFoundError):
            if files.read_json(path) is None:
                found.append(f"{path} is no whole JSON")
    return found


# -- no room -----------------------------------------------------------------------------------------------------------


def test_full_at_every_level(own: World, disk: SmallDisk, score: Score) -> None:
    """A disk full at any write of a new project: told, the rest lives on; with room it comes up by itself."""
    want(own, "old")
    controller = start_impatient(own, liveness=1)
    before = own.ready("old")
    for step in score.times(3, 45):
        name, left = f"new-{step}", step if score.full else (1, 7, 16)[step]
        disk.fill(left)
        want(own, name)
        own.until(lambda name=name: {"Running", "cannot"} & printed(own, name), "the console to tell")  # type: ignore[misc]
        score.tried()
        score.expect(score.full or "cannot" in printed(own, name), f"with {left} pages nothing failed")
        score.expect(controller.poll() is None, f"with {left} pages the controller ended")
        disk.free()
        own.ready(name)
        score.expect(not halves(own), f"with {left} pages: {halves(own)}")
        agents = copies(own, "agent")
        score.expect(before["agent"]["pid"] in agents, f"with {left} pages: old was restarted")
        score.expect(len(agents) == 2, f"with {left} pages: agents {agents}")
        own.run("destroy", name, "--yes", "--discard-unpushed")
    own.wait("old", is_ready)


def printed(world: World, name: str, since: int = 0) -> set[str]:
    """The words that the console has said of a project, which it can say without any room."""
    lines = world.root.joinpath("controller.out").read_text()[since:].splitlines()
    return {word for line in lines if name in line.split() for word in line.split()}


def test_full_for_each_kind_of_write(own: World, disk: SmallDisk, score: Score) -> None:
    """A disk full for one kind of write (spec, state, log, .env, clone, ledger, record): that is told, and passes."""
    with contextlib.ExitStack() as disks:
        specs, logs = SmallDisk(own.specs, "64k"), SmallDisk(own.home.logs, "1m", files=8)
        roomy = [SmallDisk(own.home.controller), SmallDisk(own.home.sandboxes)]
        mine = SmallDisk(own.home.sandbox("new").path)
        for mounted in (specs, logs, *roomy, mine):
            disks.callback(mounted.close)
        want(own, "app")
        controller = start_impatient(own, liveness=1, resync=3600, poll=1)
        own.ready("app")
        for fail in (no_spec, no_state):
            score.tried()
            score.violations += fail(own, specs if fail is no_spec else disk)
        for kind, full, left, sign in (
            ("log", logs, 0, "/opencode-logs/"),
            (".env", mine, 1, "WriteSecretsFailed"),
            ("clone", mine, 4, "cannot clone"),
            ("ledger", mine, 0, "ledger.json"),
            ("record", mine, 0, "StartServiceFailed"),
        ):
            name = "new" if full is mine else "other"
            for spare in own.home.sandbox(name).run.glob("*.spare"):
                spare.unlink()  # what is written over needs no room: neither fails with it
            full.fill(left)
            want(own, name)
            own.until(lambda name=name, sign=sign: sign in reported(own, name), f"no {kind}")  # type: ignore[misc]
            score.tried()
            if kind not in {".env", "ledger"}:  # else the next one goes on from there
                full.free()
                own.ready(name)
                want(own, name, state="stopped")
                own.wait(name, lambda status: status["reason"] == "Stopped")
            score.expect(not halves(own), f"{kind}: {halves(own)}")
        score.expect(controller.poll() is None, "the controller ended")
        own.until(lambda: not published.read(own.home).controller.warnings, "the warnings to go")  # type: ignore[union-attr]
        own.kill()


def no_spec(world: World, specs: SmallDisk) -> Iterator[str]:
    """A tool cannot write a spec: it says so, and the spec is as it was."""
    path, before = world.specs / "app.yaml", pids(world, "app")
    text = path.read_text()
    specs.fill()
    output = world.run("restart", "app", code=1)
    if not output.startswith("cannot write") or "Traceback" in output:
        yield f"no room for a spec: {output}"
    if path.read_text() != text or {one.name for one in world.specs.iterdir()} - {"app.yaml", "filler"}:
        yield f"no room for a spec: left {list(world.specs.iterdir())}"
    if pids(world, "app") != before:
        yield "no room for a spec: a service was replaced"
    specs.free()
    world.run("restart", "app")


def no_state(world: World, home: SmallDisk) -> Iterator[str]:
    """The index cannot be written: wishes are served all the same, and published once there is room."""
    before, log = pids(world, "app"), world.home.controller / "controller.log"
    home.fill()
    want(world, "app", restarted_at="unpublished")
    world.until(lambda: "cannot publish" in log.read_text(), "the state not to be written")
    world.until(lambda: set(before.values()).isdisjoint(pids(world, "app").values()), "the restart")
    home.free()
    world.wait("app", lambda status: is_ready(status) and status["agent"]["pid"] == pids(world, "app")["agent"])
    if not set(before.values()).isdisjoint(copies(world, "agent")):
        yield "no room for the state: the agent was not replaced"


def test_full_while_it_runs(own: World, disk: SmallDisk, score: Score) -> None:
    """Agent, keeper and controller killed on a full disk: nobody is there twice, and with room all is as before."""
    want(own, "app")
    own.start()
    before = own.ready("app")
    for turn in score.times(3, 9):
        score.tried()
        disk.fill()
        status = own.status("app")
        agent = psutil.Process(status["agent"]["pid"])
        victims = [agent, agent.parent(), psutil.Process(own.controllers[0].pid)][turn % 3 :][:1]
        for victim in victims:
            assert victim
            victim.kill()
        if turn % 3 == 2:
            own.kill()
            own.start()
            own.until(lambda: files.lock_held(own.home.controller / "lock"), "the next controller")
        score.expect(len(copies(own, "agent")) <= 1, f"agents on a full disk: {copies(own, 'agent')}")
        disk.free()
        after = own.wait("app", lambda status: is_ready(status) and status["agent"]["pid"] in copies(own, "agent"))
        score.expect(len(copies(own, "agent")) == len(copies(own, "bridge")) == 1, f"copies: {own.lines()}")
        score.expect(after["generation"] == before["generation"], "the ledger was lost")
        score.expect(after["agent"]["restarts"] >= before["agent"]["restarts"], "a count was lost")
        score.expect(after["agent"]["port"] == before["agent"]["port"], "the port was lost")
        score.expect(not halves(own), f"{halves(own)}")
        own.until(lambda: remembered(own) == own.status("app")["agent"]["restarts"], "the count to be written")
        before = own.wait("app", is_ready)


def remembered(world: World) -> int:
    """Restarts of the agent that are on disk."""
    ledger = files.read_json(world.home.sandbox("app").ledger) or {}
    return int(ledger.get("restarts", {}).get("agent", {}).get("count", 0))


def test_read_only_at_every_write(own: World, disk: SmallDisk, score: Score) -> None:
    """A folder that turns read-only is told where something must be written, ends nobody, and is used when it may."""
    want(own, "app")
    controller = own.start()
    pid = own.ready("app")["agent"]["pid"]
    sandbox = own.home.sandbox("app")
    places = [sandbox.run, sandbox.path, own.home.logs, own.home.controller, own.specs, disk.path]
    for turn, place in enumerate(places * len(score.times(1, 5))):
        score.tried()
        with read_only(place):
            score.violations += suffer_read_only(own, place, f"turn-{turn}")
            score.expect(controller.poll() is None, f"{place}: the controller ended")
            score.expect(len(copies(own, "agent")) <= 1, f"{place}: agents {copies(own, 'agent')}")
        want(own, "app", restarted_at=f"turn-{turn}-again")
        after = own.wait("app", lambda status, pid=pid: is_ready(status) and status["agent"]["pid"] != pid)  # type: ignore[misc]
        score.expect(copies(own, "agent") == [after["agent"]["pid"]], f"{place}: agents {copies(own, 'agent')}")
        pid = after["agent"]["pid"]


def suffer_read_only(world: World, place: Path, stamp: str) -> Iterator[str]:
    """Wish for a restart, and wait for what must come of it where this folder cannot be written."""
    before, printed_before = pids(world, "app"), world.root.joinpath("controller.out").stat().st_size
    if place == world.specs:
        output = world.run("restart", "app", code=1)
        if not output.startswith("cannot") or "Traceback" in output or pids(world, "app") != before:
            yield f"restart says {output}"
        return
    want(world, "app", restarted_at=stamp)
    if place == world.home.controller:  # nothing is written there for a project
        world.wait("app", lambda status: is_ready(status) and status["agent"]["pid"] not in before.values())
    elif place == world.home.root:  # not even the status
        world.until(lambda: "cannot" in printed(world, "app", printed_before), "the console to tell")
    else:
        world.until(lambda: "cannot" in reported(world), "what cannot be written")


def reported(world: World, name: str = "app") -> str:
    """Everything that is said of the project and of the controller."""
    controller = published.read(world.home).controller
    return f"{world.status(name)} {controller.warnings if controller else ''}"


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_log_deleted(own: World, score: Score) -> None:
    """A log deleted under a running service: it runs on, and the next start writes to a new one."""
    want(own, "app")
    own.start()
    before = own.ready("app")
    log = own.home.log_file("app", "agent")
    for _ in score.times(1, 6):
        score.tried()
        log.unlink()
        with own.specs.joinpath("app.yaml").open("a") as file:
            file.write("# touched\n")
        token = spec_folder.token_of(spec_folder.spec_path(own.specs, "app").stat()).text
        seen = own.wait("app", lambda status, token=token: is_ready(status) and status["spec_version"] == token)  # type: ignore[misc]
        score.expect(seen["agent"]["pid"] == before["agent"]["pid"], "the agent was restarted")
        shown = own.run("logs", "app", code=None)
        score.expect("Traceback" not in shown, f"logs says {shown}")
        before = restarted(own, before)
        score.expect(is_ready(before) and log.exists(), f"after the restart: {before['reason']}, {log.exists()}")


def test_the_logs_deleted(own: World, score: Score) -> None:
    """The logs folder deleted under running services: a restart makes it anew."""
    want(own, "app")
    own.start()
    before = own.ready("app")
    score.tried()
    shutil.rmtree(own.home.logs)
    after = restarted(own, before)
    score.expect(is_ready(after), f"after the restart: {after['reason']}: {after['message']}")
    assert not score.violations


def restarted(world: World, before: Status) -> Status:
    """After a restart that was wanted, done or failed."""
    want(world, "app", restarted_at=f"after-{before['agent']['pid']}")
    return world.wait(
        "app",
        lambda status: (
            status["reason"] == "StartServiceFailed"
            or (is_ready(status) and status["agent"]["pid"] != before["agent"]["pid"])
        ),
    )


def deleted(path: Path, _elsewhere: Path) -> None:
    """Gone, though somebody may write into it meanwhile."""
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)


def emptied(path: Path, elsewhere: Path) -> None:
    deleted(path, elsewhere)
    path.mkdir(mode=0o700, exist_ok=True)


def a_file(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere / path.name)
    path.write_text("a file\n")
    deleted(elsewhere / path.name, elsewhere)


def linked(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere / path.name)
    path.symlink_to(elsewhere / path.name)


def closed(path: Path, _elsewhere: Path) -> None:
    path.chmod(0)


WAYS = {
    "sandbox": (deleted, emptied, closed, a_file, linked),
    "repo": (deleted, a_file, linked, closed, emptied),
    "run": (deleted, closed, emptied, linked, a_file),
}
"""The short form tries the first ones: those at the end take the longest to be put right."""


def put_right(path: Path) -> None:
    """What a person does about it."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        path.chmod(0o700)


@pytest.mark.parametrize("what", ["sandbox", "repo", "run"])
def test_a_folder_gone(own: World, score: Score, what: str) -> None:
    """A folder that is deleted, emptied, replaced, linked away or closed: no second copy, nothing outside touched."""
    elsewhere = own.root / "elsewhere"
    start_impatient(own, obeying=True, resync=3600, poll=1, liveness=1)
    for turn in score.times(2 if what == "repo" else 1, 10):
        score.tried()
        way = WAYS[what][turn % 5]
        want(own, "app")
        before = own.ready("app")
        elsewhere.mkdir()
        elsewhere.joinpath("precious").write_text("work\n")
        sandbox = own.home.sandbox("app")
        path = {"sandbox": sandbox.path, "repo": sandbox.repo, "run": sandbox.run}[what]
        way(path, elsewhere)
        want(own, "app", discard_unpushed="false")
        output = own.wait("app", lambda status, before=before: changed(own, status, before))  # type: ignore[misc]
        case = f"{what} {way.__name__}"
        score.expect(is_ready(output) or output["message"], f"{case}: nothing is said")
        judge(own, score, case)
        put_right(path)
        want(own, "app")
        own.wait("app", lambda status: is_ready(status) and status["agent"]["pid"] in copies(own, "agent"))
        judge(own, score, case)
        want(own, "app", state="stopped")
        own.wait("app", lambda status: status["reason"] == "Stopped")
        score.expect(not own.processes(), f"{case}: left: {own.lines()}")
        score.expect(elsewhere.joinpath("precious").read_text() == "work\n", f"{case}: something outside was deleted")
        want(own, "app", state="absent", discard_unpushed="true")
        own.until(lambda: not own.status("app"), "its end")
        shutil.rmtree(elsewhere)


def changed(world: World, status: Status, before: Status) -> bool:
    """Whether the controller has looked since: it is ready, or says why not."""
    looked = status["observed"] > before["observed"]
    settled = is_ready(status) and status["agent"]["pid"] in copies(world, "agent")
    return bool(looked and (settled or "cannot" in status["message"] or status["stalled"]["status"]))


def judge(world: World, score: Score, case: str) -> None:
    """Never two of anything."""
    for service in ("agent", "bridge"):
        found = copies(world, service)
        score.expect(len(found) <= 1, f"{case}: {len(found)} copies of the {service}: {world.lines()}")
