"""The tools for what waits for a person: permissions and questions."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult  # noqa: TC002  read at run time, as the signature is
from pydantic import Field

from reconciler.agents.opencode import follow
from reconciler.agents.opencode.agent import OpenCodeAgent  # noqa: TC001  read at run time, as the signature is
from reconciler.agents.opencode.ids import PermissionId, QuestionId  # noqa: TC001  read at run time, as the signature is
from reconciler.agents.opencode.results import Asked, Confirmation, Permission, Permissions, Question, Questions
from reconciler.core.plain_text import plain
from reconciler.mcpkit.binding import Tool
from reconciler.mcpkit.results import said

_REPLIED: Final = {
    "once": "allowed this once",
    "always": "allowed, and from now on too for what matches",
    "reject": "refused",
}
_GO_ON: Final = "wait on with opencode-session-message, no content"
_NOT_TAKEN: Final = "the reply was not taken; opencode-{}-list shows what waits"


async def permission_list(agent: OpenCodeAgent) -> Annotated[CallToolResult, Permissions]:
    """List what the agent asks permission (approval) for. It waits until opencode-permission-reply answers each."""
    permissions = [_permission(one) for one in await agent.opencode.get("/permission")]
    lines = [f"[{one.request_id}] {one.session_id} {one.description} {one.command}".strip() for one in permissions]
    note = "answer with opencode-permission-reply" if permissions else "nothing waits for a permission"
    return said("\n".join(lines), Permissions(permissions=permissions, note=note))


async def permission_reply(
    agent: OpenCodeAgent,
    request_id: PermissionId,
    reply: Literal["once", "always", "reject"],
    message: Annotated[str, Field(max_length=2000, description="With reject: what the agent should do instead")] = "",
) -> Annotated[CallToolResult, Confirmation]:
    """Allow (approve) or reject what the agent asks permission for. Then opencode-session-message without content."""
    body = {"reply": reply} | ({"message": message} if message else {})
    done = bool(await agent.opencode.post(f"/permission/{request_id}/reply", body))
    detail = f"{_REPLIED[reply]}; {_GO_ON}" if done else _NOT_TAKEN.format("permission")
    return said(detail, Confirmation(done=done, detail=detail))


async def question_list(agent: OpenCodeAgent) -> Annotated[CallToolResult, Questions]:
    """List the questions that the agent asks. It waits until opencode-question-reply answers each request."""
    requests = [_asked(one) for one in await agent.opencode.get("/question")]
    lines = [f"[{one.request_id}] {one.session_id} {one.description}" for one in requests]
    note = "answer with opencode-question-reply" if requests else "nothing is asked"
    return said("\n".join(lines), Questions(requests=requests, note=note))


async def question_reply(
    agent: OpenCodeAgent,
    request_id: QuestionId,
    answers: Annotated[
        list[list[str]],
        Field(
            max_length=20,
            description="For each question, in order, the labels chosen, or own words; [] refuses to answer",
        ),
    ],
) -> Annotated[CallToolResult, Confirmation]:
    """Answer the agent's questions. Then opencode-session-message without content."""
    asked = next((one for one in await agent.opencode.get("/question") if one.get("id") == request_id), None)
    if asked is None:
        raise ToolError("cannot answer: this request does not wait any more; opencode-question-list shows what does")
    if not answers:
        done = bool(await agent.opencode.post(f"/question/{request_id}/reject"))
        detail = f"refused to answer; {_GO_ON}" if done else _NOT_TAKEN.format("question")
        return said(detail, Confirmation(done=done, detail=detail))
    wanted = len(asked.get("questions") or ())
    if len(answers) != wanted:
        raise ToolError(f"cannot answer: give a list of answers for each of the {wanted} questions, in order")
    done = bool(await agent.opencode.post(f"/question/{request_id}/reply", {"answers": answers}))
    detail = f"answered; {_GO_ON}" if done else _NOT_TAKEN.format("question")
    return said(detail, Confirmation(done=done, detail=detail))


def _permission(raw: dict[str, Any]) -> Permission:
    metadata = raw.get("metadata")
    return Permission(
        request_id=str(raw.get("id")),
        session_id=str(raw.get("sessionID")),
        description=follow.describe(raw),
        permission=plain(raw.get("permission")),
        patterns=[plain(pattern, 500) for pattern in raw.get("patterns") or ()],
        command=str(metadata.get("command") or "")[:2000] if isinstance(metadata, dict) else "",
    )


def _asked(raw: dict[str, Any]) -> Asked:
    questions = [
        Question(
            question=str(one.get("question"))[:2000],
            options=[plain(option.get("label"), 200) for option in one.get("options") or ()],
            multiple=bool(one.get("multiple")),
        )
        for one in raw.get("questions") or ()
    ]
    return Asked(
        request_id=str(raw.get("id")),
        session_id=str(raw.get("sessionID")),
        description=follow.describe(raw),
        questions=questions,
    )


TOOLS: Final = (
    Tool(name="opencode-permission-list", title="List permissions asked for", function=permission_list, read_only=True),
    # What it allows may change or remove anything.
    Tool(name="opencode-permission-reply", title="Answer a permission", function=permission_reply, destructive=True),
    Tool(name="opencode-question-list", title="List questions asked", function=question_list, read_only=True),
    Tool(name="opencode-question-reply", title="Answer a question", function=question_reply),
)
