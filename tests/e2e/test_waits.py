"""Waiting through the MCP tools over HTTP: never silent, never lost, whatever becomes of client and controller."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from typing import Any, Final

import pytest

from reconciler.api import client as asking
from reconciler.specs import spec_folder
from tests.support.frontends import (
    ERAS,
    SILENCE,
    Notices,
    connect,
    fields,
    fix_port,
    said,
    serving,
    start_arguments,
)
from tests.support.world import PATIENCE, World

EXIT: Final = 3.0
"""Seconds in which a controller has to end."""
LONG: Final = 70.0
"""Seconds of a wait that is longer than clients bear silence."""


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.xdist_group("waits")
async def test_a_wait_of_seventy_seconds_survives_clients_that_bear_no_silence(world: World) -> None:
    """An agent that is never healthy, clients of both eras, with and without progress; all are told how far it is."""
    world.light("slow", mode="deaf", state="stopped")
    port = serving(world)
    heard = {mode: Notices() for mode in ERAS}

    async def wait(mode: str, notices: Notices | None) -> dict[str, Any]:
        async with connect(world, port, mode) as client:
            answer = await client.call_tool(
                "opencode_start", start_arguments(world, "slow", LONG), progress_callback=notices
            )
            assert not answer.is_error, said(answer)
            return fields(answer)

    began = time.monotonic()
    answers = await asyncio.gather(*(wait(mode, notices) for mode in ERAS for notices in (heard[mode], None)))
    ended = time.monotonic()

    assert LONG > SILENCE
    assert ended - began >= LONG
    assert [(answer["status"], answer["converged"]) for answer in answers] == [("in_progress", False)] * 4
    for notices in heard.values():
        assert notices.numbers == sorted(set(notices.numbers))
        times = [began, *(at for at, _, _ in notices.heard), ended]
        # The heartbeat is 5 s: far below what any client bears, on a loaded machine too.
        assert max(b - a for a, b in itertools.pairwise(times)) < SILENCE / 2
        assert len(notices.heard) >= LONG / asking.HEARTBEAT / 2
        assert any("agent" in message for _, _, message in notices.heard)


async def test_no_wait_answers_at_once(world: World) -> None:
    """Zero seconds: the spec is written, and the answer says that it is under way."""
    world.light("quick", mode="deaf", state="stopped")
    port = serving(world)
    async with connect(world, port) as client:
        answer = fields(await client.call_tool("opencode_start", start_arguments(world, "quick", 0)))

    assert answer["status"] == "in_progress"
    assert "running" in spec_folder.spec_path(world.specs, "quick").read_text()


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_goes_away_loses_only_the_answer(world: World, mode: str) -> None:
    """The spec was written before the wait, and is acted on."""
    world.light("left", mode="deaf", state="stopped")
    port = serving(world)
    notices = Notices()

    async def impatient() -> None:
        async with connect(world, port, mode) as client:
            await client.call_tool("opencode_start", start_arguments(world, "left", 300), progress_callback=notices)

    task = asyncio.create_task(impatient())
    await asyncio.wait_for(notices.first.wait(), PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert "running" in spec_folder.spec_path(world.specs, "left").read_text()
    await asyncio.to_thread(world.wait, "left", lambda status: status["reason"] == "Starting")
    async with connect(world, port, mode) as client:
        assert fields(await client.call_tool("opencode_list", {}))["controller_running"]


# -- the life of the controller ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_goes_on_after_the_controller_was_killed_and_restarted(world: World, mode: str) -> None:
    """The same client object; nothing is kept in the controller that it would miss."""
    fix_port(world)
    world.light("app")
    port = serving(world)
    world.ready("app")
    async with connect(world, port, mode) as client:
        before = fields(await client.call_tool("opencode_status", {"project_name": "app"}))
        world.kill()
        assert serving(world) == port
        after = fields(await client.call_tool("opencode_start", start_arguments(world, "app")))

    assert after["status"] == "success"
    assert after["opencode_pid"] == before["opencode_pid"]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_controller_that_is_ended_answers_who_waits_and_exits_within_three_seconds(
    world: World, mode: str
) -> None:
    """With a call and its stream open. A machine that is loaded for a moment gets another chance, not more time."""
    times = [await time_to_exit(world, mode)]
    while times[-1] > EXIT and len(times) < 3:
        times.append(await time_to_exit(world, mode))

    assert times[-1] <= EXIT, times


async def time_to_exit(world: World, mode: str) -> float:
    """Seconds from SIGTERM to the end of a controller that a client waits on; the client is answered."""
    world.light("slow", mode="deaf", state="stopped")
    port = serving(world)
    notices = Notices()
    async with connect(world, port, mode) as client:
        await client.list_tools()  # which the client would else ask for after the answer, to check it
        call = asyncio.create_task(
            client.call_tool("opencode_start", start_arguments(world, "slow", 300), progress_callback=notices)
        )
        await asyncio.wait_for(notices.first.wait(), PATIENCE)
        controller, began = world.controllers[-1], time.monotonic()

        controller.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(controller.wait, PATIENCE)
        took = time.monotonic() - began
        answer = await asyncio.wait_for(call, PATIENCE)

    assert code == 0
    assert fields(answer)["status"] == "in_progress"
    assert "running" in spec_folder.spec_path(world.specs, "slow").read_text()
    return took
