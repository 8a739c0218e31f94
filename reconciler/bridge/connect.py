"""The connection from a bridge to its agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.agents.base import AgentConnection
from reconciler.engines.local.proved_transport import ProvedTransport

if TYPE_CHECKING:
    import asyncio

    from reconciler.bridge.config import Config


def connection(config: Config, stopping: asyncio.Event) -> AgentConnection:
    """Describe the way to the agent. Each connection is proved to lead there before anything is sent."""
    return AgentConnection(
        project=config.project,
        repo=config.repo,
        url=config.agent_url,
        authorization=config.authorization,
        transport=ProvedTransport(config.run_dir, "agent", config.agent_port),
        stopping=stopping,
        secrets=tuple(filter(None, config.secrets)),
    )
