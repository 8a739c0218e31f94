"""Every tool of both endpoints, in memory: the one address's 30 and a bridge's 21, over a real MCP client.

Nothing stands behind them: a call that gets past its arguments is refused, which shows a test that it got there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from reconciler.agents.opencode.toolset import TOOLS
from reconciler.frontends.mcp.tools import make_server
from reconciler.mcpkit.binding import bound

if TYPE_CHECKING:
    from mcp_types import Tool

    from reconciler.agents.opencode.agent import OpenCodeAgent
    from reconciler.settings import Settings

REACHED = "cannot go on: this is as far as a call gets here"
ENDPOINTS = ("address", "bridge")


async def _nobody(_project: str) -> OpenCodeAgent:
    raise ToolError(REACHED)


def make_endpoint(name: str, settings: Settings) -> MCPServer[Any]:
    """One of the two."""
    if name == "address":
        return make_server(settings, asyncio.Event())
    return MCPServer("bridge", log_level="WARNING", tools=bound(TOOLS, _nobody))


async def tools_of(server: MCPServer[Any]) -> list[Tool]:
    """What an endpoint lists."""
    async with Client(server) as client:
        return (await client.list_tools()).tools
