"""The tools for sessions: make, list, look at, abort, delete."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from mcp_types import CallToolResult  # noqa: TC002  read at run time, as the signature is
from pydantic import AfterValidator, Field

from reconciler.agents.opencode import session_state
from reconciler.agents.opencode.agent import OpenCodeAgent  # noqa: TC001  read at run time, as the signature is
from reconciler.agents.opencode.ids import MessageId, SessionId  # noqa: TC001  read at run time, as the signature is
from reconciler.agents.opencode.results import (
    Activity,
    Confirmation,
    Diff,
    Entry,
    Messages,
    Session,
    Sessions,
    Statuses,
    Todo,
    Todos,
    head,
)
from reconciler.agents.opencode.tools.files import diff
from reconciler.core.plain_text import plain
from reconciler.mcpkit.binding import Tool
from reconciler.mcpkit.results import said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _like(pattern: str, demand: str) -> Callable[[str], str]:
    """Make a check with our own message; a `pattern` in the schema would not match an empty default."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value):
            return value
        raise ValueError(demand)

    return check


Model = Annotated[
    str,
    AfterValidator(_like(r"[^/\s]+/\S+", "must look like provider/model; opencode-providers-list has them")),
    Field(description="provider/model; opencode-providers-list has them. Default: configured"),
]
AgentName = Annotated[
    str,
    AfterValidator(_like(r"[\w-]{1,64}", "must be the name of an agent, such as build or plan")),
    Field(description="build (default) or plan, or one of the project's own"),
]
_ENTRY_CHARS: Final = 8_000
_ALL_CHARS: Final = 60_000


async def session_create(
    agent: OpenCodeAgent,
    parent_id: SessionId = "",
    title: Annotated[str, Field(max_length=200)] = "",
    agent_name: AgentName = "",
    model: Model = "",
) -> Annotated[CallToolResult, Session]:
    """Create a session: a conversation with the coding agent about a project. Then use opencode-session-message."""
    body: dict[str, Any] = {"parentID": parent_id, "title": title, "agent": agent_name}
    if chosen := model_field(model).get("model"):
        body["model"] = {"providerID": chosen["providerID"], "id": chosen["modelID"]}
    raw = await agent.opencode.post("/session", {key: value for key, value in body.items() if value})
    session = _session(raw, {}).model_copy(update={"note": "tell it what to do with opencode-session-message"})
    return said(f"Session {session.session_id} is ready: {session.title}", session)


async def session_list(
    agent: OpenCodeAgent,
    limit: Annotated[int, Field(ge=1, le=200)] = 50,
    search: Annotated[str, Field(max_length=200, description="Words in the title")] = "",
) -> Annotated[CallToolResult, Sessions]:
    """List the sessions (conversations) of one project, the last used first, with what each is doing."""
    query: dict[str, str | int] = {"limit": limit + 1} | ({"search": search} if search else {})
    raw = await agent.opencode.get("/session", **query)
    statuses = await agent.opencode.get("/session/status")
    sessions = [_session(one, statuses) for one in raw[:limit]]
    note = f"only the last {limit} are shown: raise limit, or search" if len(raw) > limit else ""
    none = "no session has these words in its title" if search else "there is no session: opencode-session-create"
    lines = [f"{one.session_id} {one.status} {one.updated} {one.title}" for one in sessions]
    return said("\n".join(lines), Sessions(sessions=sessions, note=note if sessions else none))


async def session_get(agent: OpenCodeAgent, session_id: SessionId) -> Annotated[CallToolResult, Session]:
    """Status of one session: its title, whether it is busy, when it was last used."""
    raw = await agent.opencode.get(f"/session/{session_id}")
    session = _session(raw, await agent.opencode.get("/session/status"))
    return said(f"{session.session_id} is {session.status}: {session.title} (last used {session.updated})", session)


async def session_delete(agent: OpenCodeAgent, session_id: SessionId) -> Annotated[CallToolResult, Confirmation]:
    """Delete a session with all its messages, after aborting it when it is busy. Files are not touched."""
    if session_id in await agent.opencode.get("/session/status"):
        await agent.opencode.post(f"/session/{session_id}/abort")  # else it would run on, in no session
    done = bool(await agent.opencode.delete(f"/session/{session_id}"))
    detail = f"session {session_id} is deleted" if done else f"session {session_id} was not deleted"
    return said(detail, Confirmation(done=done, detail=detail))


async def session_abort(agent: OpenCodeAgent, session_id: SessionId) -> Annotated[CallToolResult, Confirmation]:
    """Abort (cancel, interrupt) the turn that the agent works on in a session. The session and changes made stay."""
    await agent.opencode.get(f"/session/{session_id}")  # an abort of what is not there says true
    busy = session_id in await agent.opencode.get("/session/status")
    done = bool(await agent.opencode.post(f"/session/{session_id}/abort")) and busy
    detail = "aborted; changes made so far stay" if done else "there was nothing to abort"
    return said(detail, Confirmation(done=done, detail=detail))


async def session_status(agent: OpenCodeAgent) -> Annotated[CallToolResult, Statuses]:
    """Status of all sessions of a project: which are busy or retrying, and how many requests wait for a person."""
    raw = await agent.opencode.get("/session/status")
    waiting = len(await agent.opencode.get("/permission")) + len(await agent.opencode.get("/question"))
    active = [
        Activity(session_id=key, status=plain(one.get("type"), 60), detail=plain(one.get("message") or ""))
        for key, one in raw.items()
        if one.get("type") != "idle"
    ]
    lines = [f"{one.session_id} {one.status} {one.detail}".strip() for one in active]
    notes = [] if active else ["no session is busy"]
    notes += [f"{waiting} waiting for a person: opencode-permission-list, opencode-question-list"] if waiting else []
    return said("\n".join(lines), Statuses(active=active, waiting=waiting, note="; ".join(notes)))


async def session_messages(
    agent: OpenCodeAgent,
    session_id: SessionId,
    limit: Annotated[int, Field(ge=1, le=100, description="How many of the newest")] = 20,
) -> Annotated[CallToolResult, Messages]:
    """Read the newest messages (history) of a session, oldest first: what was said, which tools the agent used."""
    raw = await agent.opencode.get(f"/session/{session_id}/message", limit=limit)
    entries: list[Entry] = []
    total = 0
    for one in reversed(raw):
        entry = _entry(session_state.read_message(one))
        total += len(entry.text) + sum(map(len, entry.tools))
        if total > _ALL_CHARS and entries:
            break
        entries.insert(0, entry)
    note = f"only the newest {len(entries)} fit" if len(entries) < len(raw) else ""
    note = note if entries else "nothing was said yet: opencode-session-message"
    lines = [f"[{one.role} {one.message_id}]{_marks(one)}\n{one.text}".strip() for one in entries]
    return said("\n\n".join(lines), Messages(messages=entries, note=note))


async def session_diff(
    agent: OpenCodeAgent, session_id: SessionId, message_id: MessageId = ""
) -> Annotated[CallToolResult, Diff]:
    """Diff of what the agent changed in answer to one prompt of a session: the newest, or that of messageId."""
    if not message_id:
        messages = [
            session_state.read_message(one)
            for one in await agent.opencode.get(f"/session/{session_id}/message", limit=50)
        ]
        message_id = next((one.id for one in reversed(messages) if one.role == "user"), "")
    raw = await agent.opencode.get(f"/session/{session_id}/diff", messageID=message_id) if message_id else []
    return await diff(agent, raw)


async def session_todo(agent: OpenCodeAgent, session_id: SessionId) -> Annotated[CallToolResult, Todos]:
    """The todo list (tasks) that the agent keeps for itself in a session."""
    raw = await agent.opencode.get(f"/session/{session_id}/todo")
    todos = [
        Todo(
            content=plain(one.get("content"), 500),
            status=plain(one.get("status"), 60),
            priority=plain(one.get("priority"), 60),
        )
        for one in raw[:200]
    ]
    lines = [f"[{one.status}] {one.content}" for one in todos]
    return said("\n".join(lines), Todos(todos=todos, note="" if todos else "the list is empty"))


def model_field(model: str) -> dict[str, dict[str, str]]:
    """Return the model in the form of a prompt; nothing for the configured one."""
    provider, _, name = model.partition("/")
    return {"model": {"providerID": provider, "modelID": name}} if name else {}


def _session(raw: Mapping[str, Any], statuses: Mapping[str, Any]) -> Session:
    session_id = str(raw.get("id"))
    return Session(
        session_id=session_id,
        title=plain(raw.get("title") or "", 200),
        status=plain((statuses.get(session_id) or {}).get("type") or "idle", 60),
        updated=_when(float((raw.get("time") or {}).get("updated") or 0) / 1000),
        parent_id=str(raw.get("parentID") or ""),
    )


def _entry(message: session_state.Message) -> Entry:
    return Entry(
        message_id=message.id,
        role=message.role,
        created=_when(message.created),
        text=head(message.text, _ENTRY_CHARS)[0],
        tools=list(message.tools[:50]),
        error=message.error,
        complete=message.complete or message.role == "user",
    )


def _marks(entry: Entry) -> str:
    marks = [*entry.tools, entry.error, "" if entry.complete else "not complete"]
    return "".join(f"\n  - {mark}" for mark in marks if mark)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


TOOLS: Final = (
    Tool(name="opencode-session-create", title="Create a session", function=session_create),
    Tool(name="opencode-session-list", title="List sessions of a project", function=session_list, read_only=True),
    Tool(name="opencode-session-get", title="Status of a session", function=session_get, read_only=True),
    Tool(
        name="opencode-session-delete",
        title="Delete a session",
        function=session_delete,
        destructive=True,
        idempotent=True,
    ),
    Tool(name="opencode-session-messages", title="Messages of a session", function=session_messages, read_only=True),
    Tool(name="opencode-session-abort", title="Abort a turn of a session", function=session_abort, idempotent=True),
    Tool(
        name="opencode-session-status",
        title="Status of all sessions of a project",
        function=session_status,
        read_only=True,
    ),
    Tool(name="opencode-session-diff", title="Diff of a prompt", function=session_diff, read_only=True),
    Tool(name="opencode-session-todo", title="Todo list of a session", function=session_todo, read_only=True),
)
