"""All tools by which an MCP client works with one OpenCode."""

from __future__ import annotations

from typing import Final

from reconciler.agents.opencode.tools import approvals, files, message, session, setup

TOOLS: Final = (
    *setup.TOOLS,
    *session.TOOLS,
    *message.TOOLS,
    *files.TOOLS,
    *approvals.TOOLS,
)
