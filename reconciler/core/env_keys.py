"""The variables that a user's document names: keys of a sandbox's `.env`, and what an MCP bridge gets by environment.

They are a contract with the user for every kind of agent, whatever they are called after.
"""

from __future__ import annotations

from typing import Final

GIT_URL: Final = "GIT_URL"
SSH_KEY: Final = "SSH_KEY_PATH"
PASSWORD: Final = "OPENCODE_SERVER_PASSWORD"  # noqa: S105  the name of a variable
TOKEN: Final = "MCP_TOOL_BEARER_TOKEN"  # noqa: S105  the name of a variable
AGENT_PORT: Final = "OPENCODE_PORT"
BRIDGE_PORT: Final = "MCP_TOOL_PORT"
PROGRAM: Final = "OPENCODE_BIN"
TOOL_DIR: Final = "MCP_TOOL_DIR"
ENV_KEYS: Final = (GIT_URL, SSH_KEY, PASSWORD, TOKEN, AGENT_PORT, BRIDGE_PORT, PROGRAM, TOOL_DIR)
"""All keys of a `.env`."""

AGENT_URL: Final = "OPENCODE_URL"
"""Of a bridge: where its agent answers."""
