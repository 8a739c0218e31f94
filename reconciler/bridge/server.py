"""The MCP server of a bridge: its heavy half, imported when somebody connects."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer

from reconciler import __version__, agents
from reconciler.bridge.connect import connection
from reconciler.mcpkit.binding import bound
from reconciler.mcpkit.endpoint import serving, without

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.agents.base import Client, Toolset
    from reconciler.bridge.config import Config
    from reconciler.mcpkit.http_guard import App


def build(config: Config, toolset: Toolset, client: Client) -> MCPServer[Any]:
    """Make the MCP server of one project.

    It serves no `subscriptions/listen`: its tools never change, and a stream that never ends would hold up its end.
    """

    async def only(_project: str) -> Client:
        return client

    return MCPServer(
        f"{config.access.kind}-{config.project}",
        instructions=toolset.INSTRUCTIONS,
        log_level="WARNING",
        version=__version__,
        middleware=[without("prompts", "resources")],
        subscriptions=False,
        tools=bound(toolset.TOOLS, only),
    )


@contextlib.asynccontextmanager
async def running(config: Config, stopping: asyncio.Event) -> AsyncIterator[App]:
    """Serve the ASGI app, alive within."""
    toolset = await asyncio.to_thread(agents.toolset, config.access)
    client = toolset.connect(connection(config.project, config.access, config.way, stopping))
    try:
        # In a thread: making the tools' models takes a tenth of a second.
        async with serving(await asyncio.to_thread(build, config, toolset, client), config.port) as app:
            yield app
    finally:
        await client.close()
