"""The connection from a bridge to its agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.agents.opencode.api import OpenCode
from reconciler.engines.local.proved_transport import Transport

if TYPE_CHECKING:
    from reconciler.bridge.config import Config


def connect(config: Config) -> OpenCode:
    """Make a client of the agent. Each of its connections is proved to lead to that agent before anything is sent."""
    return OpenCode(config.agent_url, config.basic, Transport(config.run_dir, "agent", config.agent_port))
