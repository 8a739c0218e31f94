"""The tool that talks to a session."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from mcp.server.mcpserver import Context  # noqa: TC002  read at run time, as the signature is
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult  # noqa: TC002  read at run time, as the signature is
from pydantic import Field

from reconciler.agents.opencode import follow, session_state
from reconciler.agents.opencode.agent import OpenCodeAgent  # noqa: TC001  read at run time, as the signature is
from reconciler.agents.opencode.api import Silent
from reconciler.agents.opencode.ids import SessionId  # noqa: TC001  read at run time, as the signature is
from reconciler.agents.opencode.results import SessionAnswer, Waiting, tail
from reconciler.agents.opencode.session_state import SessionState
from reconciler.agents.opencode.tools.session import AgentName, Model, model_field
from reconciler.core import plain_text
from reconciler.mcpkit import redact
from reconciler.mcpkit.binding import Tool
from reconciler.mcpkit.results import said

if TYPE_CHECKING:
    from reconciler.agents.opencode.session_state import Snapshot

LEAVING: Final = "cancelling this call leaves the agent at work; opencode-session-abort stops it"
_NEXT: Final = {
    SessionState.RUNNING: "call opencode-session-message again without content to wait on; " + LEAVING,
}


async def session_message(  # noqa: PLR0913, PLR0917  the parameters of the tool
    agent: OpenCodeAgent,
    ctx: Context[Any, Any],
    session_id: SessionId,
    content: Annotated[
        str,
        Field(description="What to tell the agent. Leave it out to wait on for what it is doing", max_length=200_000),
    ] = "",
    wait_seconds: Annotated[float, Field(ge=0, le=300, description="Answer after this long at the latest")] = 50.0,
    model: Model = "",
    agent_name: AgentName = "",
) -> Annotated[CallToolResult, SessionAnswer]:
    """Send the coding agent a message (prompt) in a session and wait for its answer, at most waitSeconds.

    The answer's `state` is `done`; `running` (call again without content to wait on; nothing is lost);
    `waiting_permission` or `waiting_question` (reply with opencode-permission-reply or opencode-question-reply, then
    call again without content); `retry` (the model fails, OpenCode keeps trying); or `error`. While the agent is busy,
    new content is queued behind what it does. The same content again while it is being worked on is not sent twice.
    Cancelling this call leaves the agent at work; opencode-session-abort stops it.
    """

    async def report(elapsed: float, text: str) -> None:
        await ctx.report_progress(elapsed, max(wait_seconds, elapsed), plain_text.visible(text))

    follower = follow.SessionFollower(agent, session_id, report)
    sending = queued = False
    try:
        async with asyncio.timeout(max(wait_seconds, follow.LEAST) + follow.LATE) as limit, follower.listening():
            before = await follow.look(agent, session_id)
            since = _joined(before, content, model)
            if since is None:
                _extend(limit)
                since, sending, queued = session_state.message_id(time.time()), True, bool(before.status)
                body = {"parts": [{"type": "text", "text": content}], **model_field(model)}
                await follow.send(agent, session_id, body | ({"agent": agent_name} if agent_name else {}), since)
            limit.reschedule(None)  # following keeps the time by itself
            await follower.announce(("queued behind what it does; " if queued else "") + LEAVING)
            ended = await follower.follow(since, wait_seconds)
    except (TimeoutError, Silent):
        ended = follow.silent(sending=sending)
    return _say(agent, session_id, ended, queued=queued)


def _extend(limit: asyncio.Timeout) -> None:
    """Extend the limit: an agent that has just answered is not silent, but may be late with the next answer too."""
    limit.reschedule(max(limit.when() or 0, asyncio.get_running_loop().time() + follow.LATE))


def _joined(before: Snapshot, content: str, model: str) -> str | None:
    """Return the id of the prompt to wait for instead of sending a new one; None to send it.

    Raises:
        ToolError: there is nothing to wait for.
    """
    prompt = before.prompt
    if not content.strip():
        if prompt is None:
            newest = before.newest
            if newest is None:
                raise ToolError("cannot wait: nothing was said in this session yet; give content")
            return newest.parent or newest.id
        return prompt.id
    # Nothing works at a prompt that stayed without an answer for long: it has to be sent again.
    fresh = prompt is not None and before.newest is prompt and time.time() - prompt.created < follow.UNANSWERED_LIMIT
    at_work = bool(before.status) or fresh
    # A caller that lost its answer says the same again: OpenCode would do it twice.
    same = prompt is not None and prompt.text == content and (not model or prompt.model in {"", model})
    return prompt.id if prompt is not None and same and at_work else None


def _say(agent: OpenCodeAgent, session_id: str, ended: follow.Turn, *, queued: bool) -> CallToolResult:
    # Here and not only on the way out: cutting may leave half a secret. What may be the beginning of one waits.
    words = redact.StreamRedactor(agent.secrets)
    text, cut = tail(words.clean(ended.text) + ("" if ended.state is SessionState.RUNNING else words.rest()))
    hints = [ended.detail, _NEXT.get(ended.state, "")]
    hints.append("the beginning was cut; opencode-session-messages has all of it" if cut else "")
    detail = "; ".join(hint for hint in hints if hint)
    answer = SessionAnswer(
        session_id=session_id,
        state=ended.state,
        text=text,
        message_id=ended.message_id or "",
        detail=detail,
        queued=queued,
        waiting=[Waiting(request_id=one, session_id=session_id, description=what) for one, what in ended.waiting],
    )
    lines = [text, *(f"[{one.request_id}] {one.description}" for one in answer.waiting)]
    lines.append(f"[state: {ended.state}{f'; {detail}' if detail else ''}]")
    return said("\n\n".join(line for line in lines if line), answer)


TOOLS: Final = (
    Tool(
        name="opencode-session-message",
        title="Send a message to a session",
        function=session_message,
        destructive=True,
        open_world=True,
    ),
)
