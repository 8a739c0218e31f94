"""The tools of the echo agent: those that a bridge of any kind has, by the same names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import httpx2
from mcp_types import CallToolResult  # noqa: TC002  read at run time, as the signature is

from reconciler.mcpkit.binding import Tool
from reconciler.mcpkit.failure import ToolFailureError
from reconciler.mcpkit.results import ToolResult, said

if TYPE_CHECKING:
    from reconciler.agents.base import AgentConnection

INSTRUCTIONS: Final = "An agent that repeats what it is told."


class EchoHealth(ToolResult):
    project: str
    healthy: bool
    version: str


class Session(ToolResult):
    session_id: str
    title: str


class EchoAnswer(ToolResult):
    session_id: str
    state: str
    text: str


@dataclass(frozen=True)
class Echo:
    """What the tools work on."""

    to: AgentConnection
    http: httpx2.AsyncClient
    kind: str = "echo"

    @property
    def project(self) -> str:
        return self.to.project

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.to.secrets

    async def close(self) -> None:
        await self.http.aclose()

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = await self.http.request(method, path, json=body)
        if not answer.is_success:
            raise ToolFailureError(f"cannot do that, says the echo agent ({answer.status_code})")
        return dict(answer.json())


def connect(to: AgentConnection) -> Echo:
    """Make what the tools work on."""
    headers = dict(to.authorization)
    return Echo(to, httpx2.AsyncClient(base_url=to.url, headers=headers, transport=to.transport, trust_env=False))


async def server_health(agent: Echo) -> Annotated[CallToolResult, EchoHealth]:
    """Health of the agent."""
    version = str((await agent.ask("GET", "/alive"))["echo"])
    return said(f"It echoes: {version}", EchoHealth(project=agent.project, healthy=True, version=version))


async def session_create(agent: Echo, title: str = "") -> Annotated[CallToolResult, Session]:
    """Open a room."""
    room = str((await agent.ask("POST", "/rooms"))["room"])
    return said(f"{room} is open", Session(session_id=room, title=title))


async def session_message(agent: Echo, session_id: str, content: str = "") -> Annotated[CallToolResult, EchoAnswer]:
    """Say something in a room."""
    text = str((await agent.ask("POST", f"/rooms/{session_id}/say", {"text": content}))["said"])
    return said(text, EchoAnswer(session_id=session_id, state="done", text=text))


async def session_abort(agent: Echo, session_id: str) -> Annotated[CallToolResult, EchoAnswer]:
    """Let it be still."""
    await agent.ask("POST", f"/rooms/{session_id}/hush")
    return said("it is still", EchoAnswer(session_id=session_id, state="done", text=""))


TOOLS: Final = (
    Tool(name="opencode-server-health", title="Health", function=server_health, read_only=True),
    Tool(name="opencode-session-create", title="Open", function=session_create),
    Tool(name="opencode-session-message", title="Say", function=session_message),
    Tool(name="opencode-session-abort", title="Hush", function=session_abort),
)
