"""The MCP tools of what waits for a person. Secrets and keys are never answered in a chat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from mcp.server.mcpserver import Context  # noqa: TC002  read at run time, as the signature is
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, Field

from reconciler.api import inbox
from reconciler.frontends.cli import render_needs
from reconciler.settings import UserError

if TYPE_CHECKING:
    from reconciler.core.answers import AnswerRecord
    from reconciler.frontends.mcp.callers import Callers
    from reconciler.settings import Settings

RECENT: Final = 20
"""Answers that are listed."""


class NeedOption(BaseModel):
    """One of the answers that an agent offers."""

    label: str
    description: str = ""


class NeedQuestion(BaseModel):
    """One question."""

    text: str
    header: str = ""
    options: list[NeedOption] = []
    multiple: bool = False


class NeedLine(BaseModel):
    """One thing that waits for a person."""

    id: str
    kind: str
    project: str
    message: str
    since: float
    request: str = ""
    session: str = ""
    sessions: list[str] = []
    tool: str = ""
    command: str = ""
    patch: str = ""
    cut: bool = False
    patterns: list[str] = []
    always: list[str] = []
    directories: list[str] = []
    questions: list[NeedQuestion] = []
    public_key: str = ""
    answers: list[str] = []
    do: str = ""


class AnswerLine(BaseModel):
    """One answer and what became of it."""

    project: str
    need: str
    kind: str = ""
    said: str = ""
    by: str
    at: float
    fate: str
    message: str = ""


class Inbox(BaseModel):
    """All that waits, the oldest first, and the last answers, the newest first."""

    message: str
    needs: list[NeedLine]
    answered: list[AnswerLine] = []


class InboxTools:
    """The tools on one home."""

    def __init__(self, settings: Settings, callers: Callers) -> None:
        self._settings = settings
        self._callers = callers

    async def needs(
        self,
        project_name: Annotated[str, Field(description="Only of this project; empty: of all")] = "",
    ) -> Annotated[CallToolResult, Inbox]:
        """List what waits for the user in all projects: permissions, questions, keys, secrets, providers.

        Show each to the user; answer with opencode_answer only what the user has decided.
        """
        try:
            found = inbox.waiting(self._settings, (project_name,) if project_name else None)
            recent = inbox.answered(self._settings)
        except UserError as error:
            raise ToolError(str(error)) from None
        message = f"{len(found)} wait for the user; answer with opencode_answer" if found else render_needs.NOTHING
        answers = [_line(record) for record in reversed(recent[-RECENT:])]
        data = {"message": message, "needs": [dict(need) for need in found], "answered": answers}
        return _said(render_needs.render_needs(found, time.time()), data)

    async def answer(
        self,
        project_name: Annotated[str, Field(description="Name of the project")],
        need_id: Annotated[str, Field(description="The id of the need, from opencode_needs")],
        answer: Annotated[
            list[str],
            Field(
                min_length=1,
                description="One word of its `answers`; after deny, why; to a question an option or a text, and to"
                " several questions one each",
            ),
        ],
        ctx: Context[Any, Any],
    ) -> Annotated[CallToolResult, AnswerLine]:
        """Answer what waits for the user, with what the user has decided. The first answer counts."""
        author = self._callers.author(ctx, "opencode_answer")
        try:
            record = await inbox.answer(self._settings, project_name, need_id, answer, author)
        except UserError as error:
            raise ToolError(str(error)) from None
        return _said(f"{record.project}: answered {record.need} ({record.said})", _line(record))


def _line(record: AnswerRecord) -> dict[str, Any]:
    data = record.to_dict() | {"by": record.author.text}
    return {key: value for key, value in data.items() if key in AnswerLine.model_fields and value != ""}


def _said(text: str, data: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=data)
