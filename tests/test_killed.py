"""Killed as hard as can be, at any moment: one copy after all, nothing unrecorded, no counter lower."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.world import Status, World

MOMENTS = 20
"""Spread over the 0.8 s that a start on light services takes from the first instruction of the controller to ready."""
STEP = 0.04


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


def let_it_run(controller: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for an end that does not come."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        controller.wait(seconds)


def keepers(world: World) -> list[int]:
    return [pid for pid, line in world.lines().items() if "keeper.py" in line]


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def assert_one_copy(world: World, status: Status) -> None:
    """Exactly one agent and one bridge, the published ones, each held by one keeper."""
    lines = world.lines()
    agents = [pid for pid, line in lines.items() if "lightagent.py" in line]
    bridges = [pid for pid, line in lines.items() if "index-http.js" in line]

    assert (agents, bridges) == ([status["agent"]["pid"]], [status["bridge"]["pid"]])
    assert len(keepers(world)) == 2


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_the_controller_killed_during_a_start(world: World, moment: int) -> None:
    """Started again, it finishes what was begun, and counts no restart."""
    world.light("app")
    let_it_run(world.start(), 0.15 + moment * STEP)
    world.kill()

    world.start()

    status = world.wait("app", is_ready)
    assert_one_copy(world, status)
    assert status["agent"]["restarts"] == 0


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_keeper_killed_during_a_start(world: World, moment: int) -> None:
    """Whatever it had begun lives on under another keeper, or is ended before the next try."""
    world.light("app")
    let_it_run(world.start(), 0.4 + moment * STEP / 2)
    kill_all(keepers(world))

    status = world.wait("app", lambda status: is_ready(status) and len(keepers(world)) == 2)
    assert_one_copy(world, status)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_controller_and_keepers_killed_during_a_start(world: World, moment: int) -> None:
    """Both at once: what lives is found and adopted, what does not is started."""
    world.light("app")
    let_it_run(world.start(), 0.3 + moment * STEP)
    world.kill()
    kill_all(keepers(world))

    world.start()

    status = world.wait("app", lambda status: is_ready(status) and len(keepers(world)) == 2)
    assert_one_copy(world, status)


def test_an_agent_keeps_its_pid_when_controller_and_keeper_are_killed(world: World) -> None:
    """Adopted, and its exit is still known afterwards."""
    world.light("app")
    world.start()
    before = world.ready("app")
    world.kill()
    kill_all(keepers(world))

    world.start()

    after = world.wait("app", lambda status: is_ready(status) and status["observed"] > before["observed"])
    assert after["agent"]["pid"] == before["agent"]["pid"]
    world.until(lambda: len(keepers(world)) == 2, "two keepers")
    os.kill(after["agent"]["pid"], signal.SIGKILL)
    again = world.wait("app", lambda status: is_ready(status) and status["agent"]["restarts"] == 1)
    assert again["agent"]["last_exit"] == "signal 9"
    assert_one_copy(world, again)
