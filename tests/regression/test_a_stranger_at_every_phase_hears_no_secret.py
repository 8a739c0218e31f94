"""Somebody else listens on a port of a project at every phase of its life, and hears neither password nor token.

The controller, its MCP endpoint and the bridge are real; agents are light, and foreign tools too.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import httpx2
import psutil

from tests.support import frontends
from tests.support.strangers import a_stranger, own_bridge, secrets_of

if TYPE_CHECKING:
    from tests.support.world import Status, World

NOT_YET = 2
DEAF_TOOL = "setInterval(() => {}, 1000);\n"


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"] and status["reason"] == "Running")


def is_taken(status: Status) -> bool:
    return bool(status["reason"] == "PortTaken")


def begun(world: World, service: str) -> Status:
    """Wait until a service of the project runs, though it is not ready."""
    return world.wait("app", lambda status: bool(status[service]["pid"] and not status["ready"]["status"]))


def test_before_the_first_start(world: World, ports: tuple[range, range]) -> None:
    """Both ports are taken: their holders are told nothing, and the project starts once they are free."""
    fields = {"agent": f"{{port: {ports[0][0]}}}", "bridge": f"{{port: {ports[1][0]}}}"}
    world.light("app", **fields)
    secrets = secrets_of(world, "app")
    with (
        a_stranger(ports[0][0], world.root, *secrets, address="0.0.0.0"),  # noqa: S104  that is how it listens
        a_stranger(ports[1][0], world.root, *secrets, address="::"),
    ):
        world.start()
        world.wait("app", is_taken)
        world.run("plan", code=NOT_YET)
    world.light("app", **fields)
    after = world.wait("app", is_ready)

    assert (after["agent"]["port"], after["bridge"]["port"]) == (ports[0][0], ports[1][0])


def test_while_the_agent_does_not_listen(world: World) -> None:
    """Waiting for it, planning, and ending it: whoever listens in its place is asked nothing."""
    world.light("app", "deaf")
    world.start()
    port = begun(world, "agent")["agent"]["port"]
    with a_stranger(port, world.root, *secrets_of(world, "app")) as stranger:
        world.run("plan", code=NOT_YET)
        world.light("app", "deaf", state="stopped")
        world.wait("app", lambda status: status["reason"] == "Stopped")

        assert stranger.heard() == b""


def test_while_the_users_own_tool_does_not_listen(world: World) -> None:
    """Its token is what an MCP client is asked for."""
    world.light("app")
    tool = world.root / "tool" / "dist" / "index-http.js"
    tool.parent.mkdir(parents=True)
    tool.write_text(DEAF_TOOL)
    env = world.home.sandbox("app").env_file
    env.write_text(env.read_text().partition("MCP_TOOL_DIR=")[0] + f"MCP_TOOL_DIR={tool.parent.parent}\n")
    world.start()
    port = begun(world, "bridge")["bridge"]["port"]
    with a_stranger(port, world.root, *secrets_of(world, "app")) as stranger:
        world.run("plan", code=NOT_YET)
        world.light("app", state="stopped")
        world.wait("app", lambda status: status["reason"] == "Stopped")

        assert stranger.heard() == b""


async def healthy(world: World, status: Status, port: int = 0) -> set[bool]:
    """Whether a tool call finds the agent healthy: through the bridge, and through the one address where it serves."""
    _, token = secrets_of(world, "app")
    async with frontends.reach(status["bridge"]["url"], token) as client:
        answers = [await client.call_tool("opencode-server-health", {})]
    if port:
        async with frontends.connect(world, port) as client:
            answers.append(await client.call_tool("opencode-server-health", {"project": "app"}))
    return {frontends.fields(answer)["healthy"] for answer in answers}


async def test_between_a_crash_and_the_restart(world: World) -> None:
    """The bridge goes on alone: its health page and its tools send nothing, and work again afterwards."""
    world.light("app")
    own_bridge(world, "app")
    port, controller = frontends.serving(world), world.controllers[0]
    before = world.ready("app")
    controller.send_signal(signal.SIGSTOP)
    kill(before["agent"]["pid"])
    with a_stranger(before["agent"]["port"], world.root, *secrets_of(world, "app")) as stranger:
        assert httpx2.get(before["bridge"]["url"].replace("/mcp", "/health"), timeout=30).status_code == 200
        assert await healthy(world, before) == {False}
        controller.send_signal(signal.SIGCONT)
        world.wait("app", is_taken)
        world.run("plan", code=NOT_YET)
        assert stranger.heard().count(b"HTTP/1.1") == 1  # of the health page, without a password
    world.light("app")
    after = world.wait("app", is_ready)

    assert await healthy(world, after, port) == {True}


async def test_in_a_crash_loop(world: World) -> None:
    """The bridge goes on while its agent waits for its next start."""
    world.light("app")
    own_bridge(world, "app")
    world.start()
    before = world.ready("app")
    world.light("app", "die")
    world.wait("app", lambda status: bool(status["reason"] == "CrashLoop"))
    with a_stranger(before["agent"]["port"], world.root, *secrets_of(world, "app")) as stranger:
        assert await healthy(world, before) == {False}
        world.wait("app", is_taken)
        world.run("plan", code=NOT_YET)
        assert stranger.heard() == b""
    world.light("app")
    after = world.wait("app", is_ready)

    assert (after["bridge"]["pid"], await healthy(world, after)) == (before["bridge"]["pid"], {True})


def kill(pid: int) -> None:
    """Kill it, and wait until its port is free."""
    victim = psutil.Process(pid)
    victim.kill()
    psutil.wait_procs([victim], timeout=60)
