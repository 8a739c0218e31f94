"""What people and machines do to a project behind the controller's back, and what it makes of it, on light services."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.controller.workqueue import WorkQueue
from reconciler.core.plan import RESYNC_BLOCKED
from reconciler.state import published
from tests.support.world import Status, World, git

if TYPE_CHECKING:
    from collections.abc import Callable


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


def has_reason(*reasons: str) -> Callable[[Status], bool]:
    return lambda status: status["reason"] in reasons


def is_replaced(before: Status) -> Callable[[Status], bool]:
    return lambda status: is_ready(status) and status["agent"]["pid"] != before["agent"]["pid"]


def test_an_agent_keeps_its_pid_when_controller_and_keepers_are_killed(world: World) -> None:
    """Adopted, and its exit is still known afterwards."""
    world.light("app")
    world.start()
    before = world.ready("app")
    world.kill()
    for service in ("agent", "bridge"):
        os.kill(psutil.Process(before[service]["pid"]).ppid(), signal.SIGKILL)

    world.start()

    after = world.wait("app", lambda status: is_ready(status) and status["observed"] > before["observed"])
    assert after["agent"]["pid"] == before["agent"]["pid"]
    world.until(lambda: sum("--adopt" in line for line in world.lines().values()) == 2, "two adopting keepers")
    os.kill(after["agent"]["pid"], signal.SIGKILL)
    again = world.wait("app", lambda status: is_ready(status) and status["agent"]["restarts"] == 1)
    assert again["agent"]["last_exit"] == "signal 9"


@pytest.mark.parametrize("command", ["restart", "stop and start"])
def test_an_agent_that_policy_left_ended_is_started_when_asked(world: World, command: str) -> None:
    """By a restart, and by a stop and a start."""
    never = {"restart": "{policy: never}"}
    world.light("app", **never)
    world.start()
    before = world.ready("app")
    os.kill(before["agent"]["pid"], signal.SIGKILL)
    held = world.wait("app", has_reason("Exited"))
    assert "opencode-manager restart" in held["message"]

    if command == "restart":
        world.run("restart", "app")
    else:
        world.light("app", state="stopped", **never)
        world.wait("app", has_reason("Stopped"))
        world.light("app", **never)

    world.wait("app", is_replaced(before))


def test_a_stop_and_a_start_end_a_crash_loop_s_waiting(world: World) -> None:
    """After a fix nobody waits for the next try."""
    world.light("app", mode="die")
    world.start()
    world.wait("app", lambda status: status["reason"] == "CrashLoop" and status["agent"]["restarts"] >= 3)

    world.light("app")

    assert world.wait("app", is_ready)["agent"]["last_exit"] == "exit code 3"


def test_a_deleted_sandbox_is_created_again_and_its_old_processes_end(world: World) -> None:
    """Nobody could ever find them again; the ports stay the same."""
    world.light("app")
    world.start()
    before = world.ready("app")
    old = [psutil.Process(before[service]["pid"]) for service in ("agent", "bridge")]

    shutil.rmtree(world.home.sandbox("app").path, ignore_errors=True)  # the controller makes it again meanwhile
    world.light("app")  # its stand-ins are named in .env

    after = world.wait("app", is_replaced(before))
    assert not any(process.is_running() for process in old)
    assert after["agent"]["port"] == before["agent"]["port"]
    assert len(world.processes()) == 4


def test_a_deleted_clone_is_cloned_again(world: World) -> None:
    """With the services stopped before, since they stand in a folder that is gone."""
    world.light("app")
    world.start()
    before = world.ready("app")

    shutil.rmtree(world.home.sandbox("app").repo)

    after = world.wait("app", is_replaced(before))
    assert world.home.sandbox("app").repo.joinpath("app.py").exists()
    assert after["agent"]["restarts"] == 0


def test_a_ledger_of_other_types_is_set_aside_and_made_again(world: World) -> None:
    """An agent could write it. Nothing is restarted."""
    world.light("app")
    world.start()
    before = world.ready("app")
    world.kill()
    ledger = world.home.sandbox("app").ledger
    ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"ports": "all", "generation": {}}))

    world.start()

    after = world.wait("app", lambda status: is_ready(status) and status["observed"] > before["observed"])
    assert after["agent"]["pid"] == before["agent"]["pid"]
    assert list(ledger.parent.glob("ledger.broken-*.json"))


def test_a_deleted_ledger_is_made_again_from_what_was_published(world: World) -> None:
    """Ports of a stopped project and its restart counts are kept, and the loss is told."""
    world.light("app")
    world.start()
    os.kill(world.ready("app")["agent"]["pid"], signal.SIGKILL)
    before = world.wait("app", lambda status: is_ready(status) and status["agent"]["restarts"] == 1)
    world.light("app", state="stopped")
    world.wait("app", lambda status: status["reason"] == "Stopped")
    world.kill()
    ledger = world.home.sandbox("app").ledger
    ledger.unlink()

    world.start()

    after = world.wait("app", lambda status: status["reason"] == "Stopped" and status["warnings"])
    assert f"{ledger} was missing" in after["warnings"][0]
    for service in ("agent", "bridge"):
        assert after[service]["port"] == before[service]["port"]
        assert after[service]["restarts"] == before[service]["restarts"]


def test_a_sandbox_that_is_put_back_switches_nothing_off(world: World) -> None:
    """A ledger without a spec, that nobody knew, and then a spec that goes: stopped as ever."""
    for name in ("app", "shop", "blog"):
        world.light(name)
    world.start()
    for name in ("app", "shop", "blog"):
        world.ready(name)
    stray = world.home.sandbox("stray").ledger
    stray.parent.mkdir(parents=True, mode=0o700)
    shutil.copy(world.home.sandbox("app").ledger, stray)
    world.until(lambda: world.status("stray"), "the stray one is seen")

    world.specs.joinpath("app.yaml").unlink()

    status = world.wait("app", has_reason("Stopped"))
    assert "is missing" in status["warnings"][0]


def test_specs_that_vanished_together_may_come_back_one_by_one(world: World) -> None:
    """The last that is still missing was not asked to stop either."""
    names = ("app", "shop", "blog")
    for name in names:
        world.light(name)
    world.start()
    pids = {name: world.ready(name)["agent"]["pid"] for name in names}
    texts = {name: world.specs.joinpath(f"{name}.yaml").read_text() for name in names}
    for name in names:
        world.specs.joinpath(f"{name}.yaml").unlink()
    for name in names:
        world.wait(name, has_reason("SpecMissing"))

    for name in ("app", "shop"):
        world.write(name, texts[name])
        world.wait(name, is_ready)

    assert world.status("blog")["reason"] == "SpecMissing"
    world.write("blog", texts["blog"])
    assert {name: world.wait(name, is_ready)["agent"]["pid"] for name in names} == pids


def test_two_projects_can_swap_their_ports(world: World, ports: tuple[range, range]) -> None:
    """Neither waits for the other, nor for the next slow look, which comes after a minute."""
    first, second = ports[0][-1], ports[0][-2]
    world.light("app", agent=f"{{port: {first}}}")
    world.light("shop", agent=f"{{port: {second}}}")
    world.start()
    world.ready("app")
    world.ready("shop")

    world.light("app", agent=f"{{port: {second}}}")
    world.wait("app", has_reason("PortTaken"))
    world.light("shop", agent=f"{{port: {first}}}")

    world.wait("app", lambda status: is_ready(status) and status["agent"]["port"] == second, RESYNC_BLOCKED / 2)
    world.wait("shop", lambda status: is_ready(status) and status["agent"]["port"] == first, RESYNC_BLOCKED / 2)


def test_a_picked_port_that_is_lost_before_its_first_use_is_picked_again(world: World) -> None:
    """Nobody was told of it yet."""
    world.light("app", git=f"{{url: {world.origin}, ref: nowhere}}")
    world.start()
    world.wait("app", has_reason("RefNotFound"))
    world.kill()
    ledger = world.home.sandbox("app").ledger
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"ports": {"agent": port}}))
        world.light("app")
        world.start()

        assert world.ready("app")["agent"]["port"] != port


def test_a_first_spec_that_is_broken_does_not_hold_up_a_single_run(world: World) -> None:
    """`run --once` ends and says what is wrong."""
    world.write("app", "git: {}\n")

    printed = world.run("run", "--once", code=None)

    assert "cannot" in printed
    assert "app" in printed


def test_a_clone_that_is_not_ours_any_more_is_looked_through_before_a_destroy(world: World) -> None:
    """Work in it is never trashed unsaid."""
    world.light("app")
    world.start()
    world.ready("app")
    repo = world.home.sandbox("app").repo
    repo.joinpath("new.py").write_text("work\n")
    repo.joinpath(".git", "opencode-manager.json").unlink()

    world.light("app", state="absent")

    assert "new.py" in world.wait("app", has_reason("DestroyBlocked"))["message"]
    git(repo, "clean", "-fdq")
    world.light("app", state="absent")
    world.until(lambda: "app" not in published.read(world.home).projects, "the end of it")
    assert not world.home.sandbox("app").path.exists()


def test_a_path_of_a_user_who_does_not_exist_is_reported(world: World) -> None:
    """And ends nothing."""
    world.light("app", git="{url: 'ssh://git@127.0.0.1:1/app.git', ssh_key: '~nosuchuser/key'}")
    world.start()

    assert "nosuchuser" in world.wait("app", has_reason("KeyInvalid"))["message"]


def test_a_terminal_that_is_gone_ends_no_controller(world: World) -> None:
    """It goes on without saying anything."""
    world.light("app")
    read, write = os.pipe()
    os.close(read)
    world.start(out=write)
    os.close(write)

    before = world.ready("app")
    os.kill(before["agent"]["pid"], signal.SIGKILL)
    world.wait("app", is_replaced(before))


async def test_a_pass_that_is_cancelled_before_its_first_step_leaves_the_name_free() -> None:
    """Asked for again, it runs."""
    ran = asyncio.Event()

    async def work(_name: str, _urgent: bool) -> float | None:
        ran.set()
        return None

    async with asyncio.TaskGroup() as tasks:
        queue = WorkQueue(work, tasks)
        queue.add("app")
        queue.add("app", restart=True)
        async with asyncio.timeout(10):
            await ran.wait()
