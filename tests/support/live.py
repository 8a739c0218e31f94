"""A real OpenCode with a model of ours and a bridge before it, for the tests of one module.

Import the fixtures by name; each module that does gets servers of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from mcp import Client
from mcp.server import MCPServer

from reconciler.agents.opencode.agent import OpenCodeAgent
from reconciler.agents.opencode.toolset import TOOLS
from reconciler.bridge.config import from_environment
from reconciler.mcpkit.binding import bound
from tests.support import bridge as support
from tests.support.bridge import Bridge, call, connect
from tests.support.fakemodel import FakeModel, provider
from tests.support.opencode import OpenCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PERMISSIONS: Final = {"bash": {"*": "allow", "touch asked*": "ask"}, "question": "allow"}
PATIENCE: Final = 120.0
"""Seconds: far beyond what anything here takes, for a loaded machine."""


@pytest.fixture(name="model", scope="module")
def _model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


@pytest.fixture(name="opencode", scope="module")
def _opencode(opencode_program: Path, model: FakeModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenCode]:
    sandbox = tmp_path_factory.mktemp("opencode")
    with OpenCode(opencode_program, sandbox, provider(model.url) | {"permission": PERMISSIONS}) as opencode:
        yield opencode


@pytest.fixture(name="bridge", scope="module")
def _bridge(opencode: OpenCode) -> Iterator[Bridge]:
    with support.running(opencode.url, opencode.repo, opencode.sandbox / "bridge.log") as bridge:
        yield bridge


@pytest.fixture(name="calm", autouse=True)
def _calm(model: FakeModel) -> Iterator[None]:
    """No stall outlives its test."""
    yield
    model.release()


@contextlib.asynccontextmanager
async def session(bridge: Bridge, mode: str = "auto") -> AsyncIterator[tuple[Client, str]]:
    """A client with a session of its own."""
    async with bridge.client(mode) as client:
        made = await call(client, "session-create", title="test")
        yield client, made["sessionId"]


@contextlib.asynccontextmanager
async def nearby(bridge: Bridge) -> AsyncIterator[Client]:
    """A client of the same tools in this process, where a test can change their limits."""
    config = from_environment(bridge.environment())
    agent = OpenCodeAgent(
        project="demo", opencode=connect(config), repo=bridge.repo, stopping=asyncio.Event(), secrets=()
    )

    async def resolve(_: str) -> OpenCodeAgent:
        return agent

    server: MCPServer[Any] = MCPServer("nearby", subscriptions=False, log_level="WARNING", tools=bound(TOOLS, resolve))
    try:
        async with Client(server) as client:
            yield client
    finally:
        await agent.opencode.close()


async def say(client: Client, session_id: str, content: str = "", **options: Any) -> dict[str, Any]:
    arguments = {"waitSeconds": PATIENCE, **options} | ({"content": content} if content else {})
    return await call(client, "session-message", sessionId=session_id, **arguments)


@contextlib.asynccontextmanager
async def saying(client: Client, session_id: str, content: str, model: FakeModel) -> AsyncIterator[asyncio.Task[Any]]:
    """A prompt on which the model stalls within."""
    model.stalled.clear()
    task = asyncio.create_task(say(client, session_id, content))
    try:
        assert await asyncio.to_thread(model.stalled.wait, PATIENCE)
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def use(tool: str, **arguments: Any) -> str:
    return f"[[tool:{tool} {json.dumps(arguments)}]]"


@contextlib.asynccontextmanager
async def cut_wire(port: int, *, deliver: bool) -> AsyncIterator[int]:
    """A way to a server on which the replies to prompts are lost, and with `deliver=False` the prompts too."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        prompt = b"/prompt_async " in head
        length = next((int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")), 0)
        request = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + await reader.readexactly(length)
        if deliver or not prompt:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            far_writer.write(request)
            answer = await far_reader.read()
            far_writer.close()
            writer.write(b"" if prompt else answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
