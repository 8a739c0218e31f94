"""The MCP server: the heavy half of a bridge, imported by `loader` when somebody connects.

Belongs here: putting the tools, the library and one project's agent together.
Does not belong here: who may come in (`guard`), and what a tool does.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from mcp.server import MCPServer

from reconciler import __version__
from reconciler.agents.opencode.agent import Agent
from reconciler.agents.opencode.toolset import TOOLS
from reconciler.bridge.connect import connect
from reconciler.mcpkit.binding import bound
from reconciler.mcpkit.endpoint import serving, without

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.bridge.config import Config
    from reconciler.mcpkit.http_guard import App

INSTRUCTIONS: Final = (
    "A coding agent at work in one repository. Begin with opencode-session-create, talk with opencode-session-message,"
    " and look at the outcome with opencode-vcs-diff. When the answer's state is running, call again without content."
)


def build(agent: Agent) -> MCPServer[Any]:
    """The MCP server of one project.

    It serves no `subscriptions/listen`: its tools never change, and a stream that never ends would hold up its end.
    """

    async def only(_project: str) -> Agent:
        return agent

    return MCPServer(
        f"opencode-{agent.project}",
        instructions=INSTRUCTIONS,
        log_level="WARNING",
        version=__version__,
        middleware=[without("prompts", "resources")],
        subscriptions=False,
        tools=bound(TOOLS, only),
    )


@contextlib.asynccontextmanager
async def running(config: Config, stopping: asyncio.Event) -> AsyncIterator[App]:
    """The ASGI app, alive within."""
    opencode = connect(config)
    agent = Agent(
        project=config.project, opencode=opencode, repo=config.repo, stopping=stopping, secrets=config.secrets
    )
    try:
        # In a thread: making the tools' models takes a tenth of a second.
        async with serving(await asyncio.to_thread(build, agent), config.port) as app:
            yield app
    finally:
        await opencode.close()
