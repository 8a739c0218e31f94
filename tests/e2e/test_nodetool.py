"""The user's own Node tool (MCP_TOOL_DIR) in the place of our bridge: the real controller, OpenCode and MCP client.

The tool is a re-creation of the original's wiring (tests/clients/nodetool), as the original is in no registry.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.bridge import said
from tests.support.fakemodel import FakeModel, provider
from tests.support.live import PATIENCE
from tests.support.world import Status, World, a_world, read_env

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.xdist_group("nodetool")  # one controller and its agent for all of them
SOURCE = Path(__file__).parents[1] / "clients" / "nodetool"
THEIRS = {f"opencode-{name}" for name in ("server-health", "session-create", "session-list", "session-message")}


@pytest.fixture(name="tool", scope="module")
def _tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool as its user has it: built, with what it needs beside it."""
    tool = tmp_path_factory.mktemp("opencode-mcp-tool")
    tool.joinpath("dist").mkdir()
    shutil.copy(SOURCE / "index-http.js", tool / "dist")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, tool)
    install = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    subprocess.run(install, cwd=tool, check=True, capture_output=True, timeout=PATIENCE)
    return tool


@pytest.fixture(name="own", scope="module")
def _own(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], opencode_program: Path, tool: Path
) -> Iterator[World]:
    """A world with one project, whose .env names the tool."""
    with FakeModel() as model, a_world(tmp_path_factory.mktemp("own"), ports) as world:
        world.provide(opencode_program)
        world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url))
        sandbox = world.home.sandbox("app")
        sandbox.path.mkdir(parents=True, mode=0o700)
        sandbox.env_file.touch(mode=0o600)
        sandbox.env_file.write_text(
            "OPENCODE_SERVER_PASSWORD=password-of-the-agent-0123\n"
            "MCP_TOOL_BEARER_TOKEN=token-of-the-tool-0123456\n"
            f"MCP_TOOL_DIR={tool}\n"
        )
        world.write("app", f"git: {{url: {world.origin}}}\n")
        world.start()
        world.ready("app")
        yield world


@contextlib.asynccontextmanager
async def connected(world: World, mode: str = "auto") -> AsyncIterator[Client]:
    """A client with the address from status and the token from .env."""
    token = read_env(world.home.sandbox("app").env_file)["MCP_TOOL_BEARER_TOKEN"]
    url = world.status("app")["bridge"]["url"]
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=PATIENCE, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def ask(client: Client, tool: str, **arguments: str) -> Any:
    """What one of its tools answers: JSON in a text, as it knows no typed results."""
    result = await client.call_tool(f"opencode-{tool}", arguments)
    assert not result.is_error, said(result.content)
    return json.loads(said(result.content))


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


def started_with(world: World) -> tuple[list[str], Path]:
    """The arguments of the tool that runs, and its servers file, which is named there."""
    arguments = psutil.Process(world.status("app")["bridge"]["pid"]).cmdline()
    return arguments, Path(arguments[arguments.index("--servers-config") + 1])


def in_force(status: Status, *, other_than: Status) -> bool:
    """Whether it is ready with another bridge than before."""
    return bool(status["ready"]["status"] and status["bridge"]["pid"] != other_than["bridge"]["pid"])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_works_through_it(own: World, mode: str) -> None:
    """With the token from .env, on the real agent: health, a session, an answer of the model."""
    async with connected(own, mode) as client:
        offered = await names(client)
        health = await ask(client, "server-health")
        session = await ask(client, "session-create")
        answer = await ask(client, "session-message", sessionId=session["id"], content="hello")
        sessions = await ask(client, "session-list")

    assert offered == THEIRS
    assert health["healthy"]
    assert "You said: hello" in [part.get("text") for part in answer["parts"]]
    assert session["directory"] == str(own.home.sandbox("app").repo)
    assert session["id"] in [one["id"] for one in sessions]


def test_it_is_locked_and_no_secret_is_in_anybodys_arguments(own: World) -> None:
    """The agent's password is in a file that only its owner may read; the token is in no argument either."""
    bridge, sandbox = own.status("app")["bridge"], own.home.sandbox("app")
    env = read_env(sandbox.env_file)
    refused = httpx2.post(bridge["url"], json={}, trust_env=False)
    arguments, config = started_with(own)

    assert refused.status_code == 401
    assert arguments[1] == f"{env['MCP_TOOL_DIR']}/dist/index-http.js"
    assert (config.parent, stat.S_IMODE(config.stat().st_mode)) == (sandbox.run, 0o600)
    assert env["OPENCODE_SERVER_PASSWORD"] in config.read_text()
    everybody = "\n".join(" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))
    assert str(config) in everybody
    assert not [key for key in ("OPENCODE_SERVER_PASSWORD", "MCP_TOOL_BEARER_TOKEN") if env[key] in everybody]


async def test_it_is_replaced_when_it_dies_and_counted(own: World) -> None:
    """As our own bridge is: another pid on the same port, one restart more with its reason, and the same agent."""
    before = own.status("app")
    os.kill(before["bridge"]["pid"], signal.SIGKILL)

    after = own.wait("app", lambda status: in_force(status, other_than=before))

    assert after["bridge"]["restarts"] == before["bridge"]["restarts"] + 1
    assert after["bridge"]["last_exit"] == "signal 9"
    assert after["bridge"]["url"] == before["bridge"]["url"]
    assert after["agent"]["pid"] == before["agent"]["pid"]
    async with connected(own) as client:
        assert await ask(client, "session-create")


async def test_without_its_line_in_env_our_own_bridge_takes_its_place(own: World) -> None:
    """On the same port, for the same token, counted as no failure, and its file with the password is gone; and back."""
    before, sandbox = own.status("app"), own.home.sandbox("app")
    _, config = started_with(own)
    text = sandbox.env_file.read_text()
    left = [line for line in text.splitlines(keepends=True) if not line.startswith("MCP_TOOL_DIR=")]
    sandbox.env_file.write_text("".join(left))

    ours = own.wait("app", lambda status: in_force(status, other_than=before))

    assert ours["bridge"]["url"] == before["bridge"]["url"]
    assert ours["bridge"]["restarts"] == before["bridge"]["restarts"]
    assert ours["agent"]["pid"] == before["agent"]["pid"]
    assert not config.exists()
    async with connected(own) as client:
        assert await names(client) > THEIRS

    sandbox.env_file.write_text(text)
    own.specs.joinpath("app.yaml").touch()  # noticed without it too, only later
    own.wait("app", lambda status: in_force(status, other_than=ours))

    async with connected(own) as client:
        assert await names(client) == THEIRS
