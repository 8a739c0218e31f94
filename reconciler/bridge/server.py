"""The MCP server: the heavy half of a bridge, imported by `loader` when somebody connects.

Belongs here: putting the tools, the library and one project's agent together.
Does not belong here: who may come in (`guard`), and what a tool does.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from reconciler.bridge import tools_files, tools_human, tools_session, tools_setup, tools_talk
from reconciler.bridge.agent import Agent
from reconciler.bridge.binding import bound
from reconciler.bridge.guard import allowed_hosts, allowed_origins
from reconciler.bridge.opencode import OpenCode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from reconciler.bridge.config import Config
    from reconciler.bridge.guard import App

TOOLS: Final = (
    *tools_setup.TOOLS,
    *tools_session.TOOLS,
    *tools_talk.TOOLS,
    *tools_files.TOOLS,
    *tools_human.TOOLS,
)
BODY_LIMIT: Final = 2**20
"""Bytes of one request."""
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
        subscriptions=False,
        tools=bound(TOOLS, only),
    )


@contextlib.asynccontextmanager
async def running(config: Config, stopping: asyncio.Event) -> AsyncIterator[App]:
    """The ASGI app, alive within.

    Stateless: a client goes on after a restart of the bridge, and no session can be taken over.
    """
    opencode = OpenCode(config)
    agent = Agent(
        project=config.project, opencode=opencode, repo=config.repo, stopping=stopping, secrets=config.secrets
    )
    mcp = build(agent)
    app = mcp.streamable_http_app(
        stateless_http=True,
        host="127.0.0.1",
        max_request_body_size=BODY_LIMIT,
        transport_security=TransportSecuritySettings(
            allowed_hosts=allowed_hosts(config.port), allowed_origins=allowed_origins(config.port)
        ),
    )
    try:
        async with mcp.session_manager.run():
            yield app
    finally:
        await opencode.close()
