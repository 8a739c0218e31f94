"""The MCP tools on stdin and stdout: a front end only, beside a controller that it starts when there is none."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import mcp_types
import psutil
import pytest
from mcp import Client, StdioServerParameters

from reconciler.state import published
from tests.support.frontends import ERAS, connect, fields, said, serving
from tests.support.world import PATIENCE, World

if TYPE_CHECKING:
    from reconciler.state.published import ControllerInfo


def front_end(world: World) -> StdioServerParameters:
    """As an MCP client's configuration names it."""
    program, *arguments = world.command("mcp")
    return StdioServerParameters(command=program, args=arguments, env=world.environment)


def leader(world: World) -> ControllerInfo:
    """Wait for the controller that leads, and return it."""

    def look() -> ControllerInfo | None:
        index = published.read(world.home)
        found = index.controller if index.running else None
        return found if found and psutil.pid_exists(found.pid) else None

    found = world.until(look, "a detached controller")
    assert found
    return found


def controllers(world: World) -> list[psutil.Process]:
    """Every controller of this world that no test started."""
    return [one for one in world.processes() if "run" in one.cmdline() and "reconciler" in one.cmdline()]


def end(world: World, pid: int) -> None:
    """End a detached controller as a person would, once it is sure that it is one of this world."""
    process = psutil.Process(pid)
    assert process.environ()["OPENCODE_MANAGER_HOME"] == str(world.home.root)
    assert "run" in process.cmdline()
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)


@pytest.mark.parametrize("mode", ERAS)
async def test_without_a_controller_one_is_started_that_outlives_the_client(world: World, mode: str) -> None:
    """The first call works at once; after the client is gone, controller and agent go on."""
    world.light("app")
    async with Client(front_end(world), mode=mode) as client:
        arguments = {"project_name": "app", "git_url": str(world.origin), "wait_seconds": PATIENCE}
        started = await client.call_tool("opencode_start", arguments)
        assert fields(started)["status"] == "success", said(started)
        assert fields(await client.call_tool("opencode_list", {}))["controller_running"]

    [controller] = controllers(world)
    assert controller.pid == leader(world).pid
    assert os.getsid(controller.pid) == controller.pid
    assert psutil.pid_exists(fields(started)["opencode_pid"])
    end(world, controller.pid)
    assert controllers(world) == []


async def test_a_running_controller_is_used(world: World) -> None:
    """No second one; a request through one frontend is seen through the other."""
    port = serving(world)
    world.light("app", state="stopped")
    world.ready("app")
    async with Client(front_end(world)) as client, connect(world, port) as other:
        named = {"project_name": "app", "wait_seconds": PATIENCE}
        arguments = named | {"git_url": str(world.origin)}
        started = fields(await client.call_tool("opencode_start", arguments))
        assert (
            fields(await other.call_tool("opencode_status", {"project_name": "app"}))["opencode_pid"]
            == (started["opencode_pid"])
        )
        assert [tool.name for tool in (await client.list_tools()).tools] == [
            tool.name for tool in (await other.list_tools()).tools
        ]
        await other.call_tool("opencode_stop", named)
        assert fields(await client.call_tool("opencode_status", {"project_name": "app"}))["actual"] == "stopped"

    assert controllers(world) == []
    assert leader(world).pid == world.controllers[0].pid


async def test_of_front_ends_that_start_at_once_one_controller_comes(world: World) -> None:
    """Whoever loses the race gives up, and every front end works."""

    async def one() -> bool:
        async with Client(front_end(world)) as client:
            await asyncio.to_thread(leader, world)
            return bool(fields(await client.call_tool("opencode_list", {}))["controller_running"])

    assert all(await asyncio.gather(one(), one(), one()))

    found = leader(world)
    world.until(lambda: [each.pid for each in controllers(world)] == [found.pid], "one controller alone")
    end(world, found.pid)


def test_the_end_of_stdin_is_a_clean_end(world: World) -> None:
    """Exit code 0; stdout has carried nothing but the protocol."""
    serving(world)
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    with subprocess.Popen(
        world.command("mcp"),
        env=world.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(json.dumps(request) + "\n")
        program.stdin.flush()
        answer = json.loads(program.stdout.readline())
        out, err = program.communicate(timeout=PATIENCE)

    assert program.returncode == 0
    assert answer["result"]["serverInfo"]["name"] == "ocm"
    assert (out, err) == ("", "")


def test_a_front_end_that_nobody_talks_to_ends_too(world: World) -> None:
    """An empty stdin."""
    serving(world)

    assert world.run("mcp") == ""


async def test_destroy_asks_the_person_on_stdio_too(world: World) -> None:
    """Here the older era can ask as well: a declined question changes nothing."""

    async def decline(context: Any, params: Any) -> Any:  # noqa: ARG001  the protocol names them
        return mcp_types.ElicitResult(action="decline")

    serving(world)
    world.light("app", state="stopped")
    world.ready("app")
    for mode in ERAS:
        async with Client(front_end(world), mode=mode, elicitation_callback=decline) as client:
            answer = await client.call_tool("opencode_destroy", {"project_name": "app"})
            assert answer.is_error
            assert "the user was asked and said no" in said(answer)
    assert world.specs.joinpath("app.yaml").exists()
