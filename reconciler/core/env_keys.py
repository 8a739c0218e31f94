"""The variables that a user's document names: keys of a sandbox's `.env`, and what an MCP bridge gets by environment.

They are a contract with the user for every kind of agent, whatever they are called after.
"""

from __future__ import annotations

import re
from typing import Final

from reconciler.core.kinds import DRIVERS

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

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_RESERVED: Final = re.compile(r"MCP_TOOL_.*|OCM_.*|HOME|PATH|TMPDIR|XDG_.*|GIT_SSH.*|GIT_CONFIG_SYSTEM|LD_.*|DYLD_.*")
"""What the manager sets, whatever the kind of the agent."""


def is_reserved(name: str, kind: str | None = None) -> bool:
    """Tell whether the manager sets this variable of an agent itself, or a value of it would take over the agent.

    Args:
        name: of the variable.
        kind: of the agent; None: any, as for secrets that all share.
    """
    kinds = DRIVERS.values() if kind is None else filter(None, [DRIVERS.get(kind)])
    return bool(_RESERVED.fullmatch(name)) or any(re.fullmatch(one.reserved, name) for one in kinds)


def is_secret_name(name: str) -> bool:
    """Tell whether a key can name a secret of the agent: in capitals, and none of the manager's own."""
    return _NAME.fullmatch(name) is not None and name not in ENV_KEYS and not is_reserved(name)
