"""The bridge's tools for many projects at one address: what a router builds on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from reconciler.agents.opencode.agent import OpenCodeAgent
from reconciler.agents.opencode.toolset import TOOLS
from reconciler.bridge.config import from_environment
from reconciler.mcpkit.binding import bound
from tests.support.bridge import Bridge, call, connect, refusal
from tests.support.opencode import PASSWORD, make_repository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(name="router")
async def _router(tmp_path: Path) -> AsyncIterator[MCPServer[Any]]:
    """Two projects, each with a clone of its own, and no agent that runs."""
    agents = {}
    for name in ("blue", "red"):
        repo = make_repository(tmp_path / name)
        (repo / "name.txt").write_text(f"{name} {PASSWORD}\n")
        bridge = Bridge(agent_url="http://127.0.0.1:9", repo=repo, log=tmp_path / "log")
        config = from_environment(bridge.environment())
        agents[name] = OpenCodeAgent(
            project=name, opencode=connect(config), repo=repo, stopping=asyncio.Event(), secrets=config.secrets
        )

    async def resolve(project: str) -> OpenCodeAgent:
        if project in agents:
            return agents[project]
        raise ToolError(f"cannot find the project {project!r}: opencode_list shows them")

    yield MCPServer("router", subscriptions=False, log_level="WARNING", tools=bound(TOOLS, resolve, routed=True))
    for agent in agents.values():
        await agent.opencode.close()


async def test_every_tool_takes_a_project_before_its_own_arguments(router: MCPServer[Any]) -> None:
    """And nothing of the function that serves it shows."""
    async with Client(router) as client:
        tools = (await client.list_tools()).tools

    assert len(tools) == 21
    for tool in tools:
        assert next(iter(tool.input_schema["properties"])) == "project"
        assert "project" in tool.input_schema["required"]
        assert not {"agent_", "ctx", "agentName", "repo"} & set(tool.input_schema["properties"])


async def test_a_call_reaches_the_project_it_names(router: MCPServer[Any]) -> None:
    """Each its own clone, and neither's secrets."""
    async with Client(router) as client:
        blue = await call(client, "file-content", project="blue", path="name.txt")
        red = await call(client, "search-content", project="red", pattern="^(red|blue)")
        health = await call(client, "server-health", project="red")
        unknown = await refusal(client, "file-content", project="green", path="name.txt")
        missing = await refusal(client, "file-content", path="name.txt")

    assert blue["content"] == "blue [redacted]\n"
    assert [one["text"] for one in red["hits"]] == ["red [redacted]"]
    assert health["project"] == "red"
    assert "cannot find the project 'green'" in unknown
    assert "project" in missing
    assert PASSWORD not in json.dumps([blue, red, health, unknown])
