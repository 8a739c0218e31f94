"""Services that do not get ready, or that were silent before this controller began: counted, and in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, cast

import pytest

from reconciler import settings as settings_module
from reconciler.engines.base import Events
from reconciler.engines.local import services

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import Status, World


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


def test_a_start_that_never_gets_ready_is_counted_and_its_pause_survives_the_controller(world: World) -> None:
    """Like a crash, with each pause longer than the one before."""
    world.environment["OPENCODE_MANAGER_START_TIMEOUT"] = "0.5"
    world.light("app", "deaf")
    world.start()
    before = world.wait("app", lambda status: status["agent"]["restarts"] >= 3)
    world.kill()

    world.start()
    after = world.wait("app", lambda status: status["reason"] == "CrashLoop")

    assert after["agent"]["restarts"] >= before["agent"]["restarts"]
    assert after["agent"]["last_exit"] == "not getting ready"
    assert "was ended after not getting ready" in after["message"]


def test_a_service_that_was_silent_before_the_controller_began_is_restarted(world: World) -> None:
    """Silent and idle for long enough: another controller started it, and this one never heard it."""
    wedged = {"OPENCODE_MANAGER_LIVENESS": "0.5", "OPENCODE_MANAGER_WEDGED": "1", "OPENCODE_MANAGER_START_TIMEOUT": "1"}
    world.environment |= wedged
    world.light("app")
    world.start()
    before = world.ready("app")
    world.kill()
    os.kill(before["agent"]["pid"], signal.SIGSTOP)

    world.start()
    after = world.wait("app", lambda status: is_ready(status) and status["agent"]["pid"] != before["agent"]["pid"])

    assert (after["agent"]["restarts"], after["agent"]["last_exit"]) == (1, "being wedged")


def test_a_service_that_was_silent_proves_itself_when_it_comes_back(world: World) -> None:
    """It lives on with its pid."""
    world.environment |= {"OPENCODE_MANAGER_LIVENESS": "0.5", "OPENCODE_MANAGER_START_TIMEOUT": "1"}
    world.light("app")
    world.start()
    before = world.ready("app")
    world.kill()
    os.kill(before["agent"]["pid"], signal.SIGSTOP)
    world.start()
    world.wait("app", lambda status: status["reason"] == "Unresponsive")

    os.kill(before["agent"]["pid"], signal.SIGCONT)

    after = world.wait("app", is_ready)
    assert (after["agent"]["pid"], after["agent"]["restarts"]) == (before["agent"]["pid"], 0)


async def test_a_start_that_hangs_does_not_hold_up_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is given on after a while, and only once."""
    environment = {"OPENCODE_MANAGER_HOME": str(tmp_path), "OPENCODE_MANAGER_AGENT_STARTS": "2"}
    settings = settings_module.load(environment=environment)
    starts = services.Serving(settings, Events(), cast("Any", None), cast("Any", None), lambda _name, _service: None)
    monkeypatch.setattr(services, "SLOT_TIME", 0.05)
    async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(starts._slot())
    monkeypatch.setattr(services, "SLOT_TIME", 1000.0)
    async with asyncio.timeout(30):
        async with starts._slot():
            async with starts._slot():
                third = asyncio.create_task(starts._slot().__aenter__())
                for _ in range(20):  # turns of the loop: it would have got in
                    await asyncio.sleep(0)
                waits = not third.done()
            await third

    assert waits


def test_how_many_start_at_a_time_is_a_setting() -> None:
    """A number, or a sentence that says so."""
    with pytest.raises(settings_module.UserError, match="cannot use OPENCODE_MANAGER_AGENT_STARTS='many'"):
        settings_module.load(environment={"HOME": "/", "OPENCODE_MANAGER_AGENT_STARTS": "many"})


def test_an_agent_that_refuses_the_right_password_is_never_ready(world: World) -> None:
    """And never sent to a loop of restarts: status says which port does not take which password."""
    world.light("app", mode="deny")
    world.start()

    status = world.wait("app", lambda status: status["reason"] == "AuthFailed")

    assert (status["ready"]["status"], status["stalled"]["status"], status["agent"]["restarts"]) == (False, True, 0)
    assert f"port {status['agent']['port']}: it does not accept the password from .env" in status["message"]
