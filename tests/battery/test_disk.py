"""Disk faults: full, read-only, a broken index, and folders that are deleted, replaced, linked away or closed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler import files, published, settings
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
def _disk(own: World, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A small disk below the home. An ordinary user runs the test in a namespace of his own, where he may mount."""
    if os.geteuid() != 0 and INSIDE not in os.environ:
        pytest_again = ["-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
        again = ["unshare", "-Urm", sys.executable, *pytest_again]
        done = subprocess.run(
            again,
            env={**os.environ, INSIDE: "1"},
            cwd=request.config.rootpath,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        request.getfixturevalue("score").tried()
        pytest.skip("passed in a namespace, as an ordinary user may not mount")
    disk = SmallDisk(own.home.root)
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


def test_full_at_every_write(own: World, disk: SmallDisk, score: Score) -> None:
    """A disk full at any write of a new project: the rest lives on; with room it comes up by itself."""
    want(own, "old")
    controller = own.start()
    before = own.ready("old")
    for step in score.times(2, 40):
        name, left = f"new-{step}", 11 + step * 22 if not score.full else step * 2
        disk.fill(left)
        want(own, name)
        told = wait_told(own, name)
        score.tried()
        if told and not is_ready(told):
            score.expect("cannot" in told["message"], f"with {left} pages: {told['reason']}: {told['message']}")
        score.expect(controller.poll() is None, f"with {left} pages the controller ended")
        disk.free()
        own.ready(name)
        same = own.status("old")["agent"]["pid"] == before["agent"]["pid"]
        score.expect(same, f"with {left} pages: old was restarted")
        score.expect(not halves(own), f"with {left} pages: {halves(own)}")
        score.expect(len(copies(own, "agent")) == 2, f"with {left} pages: agents {copies(own, 'agent')}")
        own.run("destroy", name, "--yes", "--discard-unpushed")
    own.wait("old", is_ready)


def wait_told(world: World, name: str) -> Status | None:
    """Until it is said what is the matter; None when there is no room at all, not even for saying that."""
    for _ in range(30):
        with contextlib.suppress(AssertionError):
            return world.wait(name, lambda status: is_ready(status) or "cannot" in status["message"], 2)
        if os.statvfs(world.home.root).f_bavail == 0:
            return None
    raise AssertionError(world.story())


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
    for turn, place in enumerate(places if score.full else places[:2] + places[4:]):
        score.tried()
        with read_only(place):
            if place == own.specs:
                told = own.run("restart", "app", code=1)
                score.expect(told.startswith("cannot") and "Traceback" not in told, f"restart says {told}")
            else:
                want(own, "app", restarted_at=f"turn-{turn}")
                if place in {sandbox.run, sandbox.path}:
                    own.until(lambda: "cannot" in told_of(own), "what cannot be written")
            score.expect(controller.poll() is None, f"{place}: the controller ended")
            score.expect(len(copies(own, "agent")) <= 1, f"{place}: agents {copies(own, 'agent')}")
        want(own, "app", restarted_at=f"turn-{turn}-again")
        after = own.wait("app", lambda status, pid=pid: is_ready(status) and status["agent"]["pid"] != pid)  # type: ignore[misc]
        score.expect(len(copies(own, "agent")) == 1, f"{place}: agents {copies(own, 'agent')}")
        pid = after["agent"]["pid"]


def told_of(world: World) -> str:
    """Everything that is said of the project and of the controller."""
    controller = published.read(world.home).controller
    return f"{world.status('app')} {controller.warnings if controller else ''}"


# -- the index ---------------------------------------------------------------------------------------------------------


def test_a_broken_index(own: World, score: Score) -> None:
    """An index cut at any byte, of an older or of a newer version is made again, and restarts nothing."""
    want(own, "app")
    own.start()
    before = own.ready("app")
    whole = own.home.state_file.read_bytes()
    document = json.loads(whole)
    for length in range(len(whole)):
        own.home.controller.joinpath("cut").write_bytes(whole[:length])
        score.expect(files.read_json(own.home.controller / "cut") is None, f"cut at {length} it is taken for whole")
    spoilt = [whole[:length] for length in range(0, len(whole), 1 if score.full else 97)]
    spoilt += [json.dumps(document | {"schema": schema}).encode() for schema in (0, -1, 99, None, "1")]
    spoilt += [b"[]", b"\0" * 4096, json.dumps(document | {"projects": 1}).encode()]
    for turn, data in enumerate(spoilt):
        score.tried()
        own.home.state_file.write_bytes(data)
        shown = own.run("list", code=None) if turn % 10 == 0 else ""
        score.expect("Traceback" not in shown, f"list says {shown[-300:]}")
        if turn % 12 == 11:
            own.kill()
            own.start()
        want(own, "app", **({} if turn % 2 else {"discard_unpushed": "false"}))
        own.until(lambda: mended(own, "app"), "the index to be made again")
        after = own.status("app")
        score.expect(after["agent"]["pid"] == before["agent"]["pid"], f"after {data[-40:]!r}: the agent was restarted")
        score.expect(after["agent"]["restarts"] == 0, "a restart was counted")


def mended(world: World, name: str) -> bool:
    """Whether the index is whole, ours, and says that the project is ready."""
    with contextlib.suppress(settings.UserError):
        index = published.read(world.home)
        return index.running and name in index.projects and is_ready(dict(index.projects[name]))
    return False


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
        score.expect(own.ready("app")["agent"]["pid"] == before["agent"]["pid"], "the agent was restarted")
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
    start_impatient(own, obeying=True, resync=1, liveness=1)
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
        told = own.wait("app", lambda status, before=before: changed(own, status, before))  # type: ignore[misc]
        case = f"{what} {way.__name__}"
        score.expect(is_ready(told) or told["message"], f"{case}: nothing is said")
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
