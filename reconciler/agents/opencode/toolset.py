"""All tools by which an MCP client works with one OpenCode. Heavy: imported when somebody connects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reconciler.agents.opencode.agent import OpenCodeAgent
from reconciler.agents.opencode.api import OpenCode
from reconciler.agents.opencode.tools import approvals, files, message, session, setup

if TYPE_CHECKING:
    from reconciler.agents.base import AgentConnection

TOOLS: Final = (
    *setup.TOOLS,
    *session.TOOLS,
    *message.TOOLS,
    *files.TOOLS,
    *approvals.TOOLS,
)
INSTRUCTIONS: Final = (
    "A coding agent at work in one repository. Begin with opencode-session-create, talk with opencode-session-message,"
    " and look at the outcome with opencode-vcs-diff. When the answer's state is running, call again without content."
)


def connect(to: AgentConnection) -> OpenCodeAgent:
    """Make what the tools work on."""
    return OpenCodeAgent(
        project=to.project,
        opencode=OpenCode(to.url, to.authorization, to.transport),
        repo=to.repo,
        stopping=to.stopping,
        secrets=to.secrets,
    )
