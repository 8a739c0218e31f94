"""A controller that is the first process of a container leaves no zombie there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.support.world import World

CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


def inside(world: World) -> list[psutil.Process]:
    """Every process of the container."""
    return psutil.Process(world.controllers[0].pid).children(recursive=True)


def zombies(world: World) -> list[psutil.Process]:
    found = []
    for process in inside(world):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process] if process.status() == psutil.STATUS_ZOMBIE else []
    return found


def enter_container(world: World) -> None:
    """Start the world's controllers as pid 1 of a pid namespace, or skip where there is none to be had."""
    if subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: this machine lets nobody make a pid namespace, so nothing can be pid 1 here")
    command = world.command
    world.command = lambda *rest: [*(CONTAINER if rest[0] == "run" else []), *command(*rest)]  # type: ignore[method-assign]


def test_what_killed_keepers_leave_behind_is_reaped(world: World) -> None:
    """And the project ends as it would anywhere else."""
    enter_container(world)
    world.light("app")
    world.start()
    world.ready("app")
    for process in inside(world):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "keeper.py" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)

    assert "Status: success" in world.run("stop", "app")

    world.until(lambda: not zombies(world), "no zombies")


def test_the_first_process_ends_with_its_controller_on_request(world: World) -> None:
    """A container stops at once, and not after the ten seconds that its patience lasts; nobody is told otherwise."""
    enter_container(world)
    world.light("app")
    world.start()
    world.ready("app")

    os.kill(inside(world)[0].pid, signal.SIGTERM)

    assert world.controllers[0].wait(60) == 0
    printed = world.root.joinpath("controller.out").read_text()
    assert "its end ends this container, and the agents in it" in printed
    assert "Still running" not in printed
