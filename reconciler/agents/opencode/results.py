"""What the tools of OpenCode return, as models: small, as every schema is sent to every client."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from reconciler.mcpkit.results import ToolResult

TEXT_CHARS: Final = 60_000
"""Of one answer's text."""


class ServerHealth(ToolResult):
    """Whether the agent can work."""

    project: str
    healthy: bool
    version: str = ""
    detail: str = ""


class Session(ToolResult):
    """One session."""

    session_id: str
    title: str
    status: str
    updated: str
    parent_id: str = ""
    note: str = ""


class Sessions(ToolResult):
    """Sessions, the last used first."""

    sessions: list[Session]
    note: str = ""


class Confirmation(ToolResult):
    """Something was done, or not."""

    done: bool
    detail: str


class Waiting(ToolResult):
    """What waits for a person."""

    request_id: str
    session_id: str
    description: str


class SessionAnswer(ToolResult):
    """How a session stands."""

    session_id: str
    state: str
    """done, running, waiting_permission, waiting_question, retry or error."""
    text: str
    message_id: str = ""
    detail: str = ""
    queued: bool = False
    waiting: list[Waiting] = Field(default_factory=list)


class Entry(ToolResult):
    """One message."""

    message_id: str
    role: str
    created: str
    text: str
    tools: list[str] = Field(default_factory=list)
    error: str = ""
    complete: bool = True


class Messages(ToolResult):
    """Messages, oldest first."""

    messages: list[Entry]
    note: str = ""


class Activity(ToolResult):
    """A session that is not idle."""

    session_id: str
    status: str
    detail: str = ""


class Statuses(ToolResult):
    """What is going on."""

    active: list[Activity]
    waiting: int
    note: str = ""


class ChangedFile(ToolResult):
    """One changed file."""

    file: str
    status: str
    additions: int
    deletions: int


class Diff(ToolResult):
    """Changed files and their patch."""

    files: list[ChangedFile]
    patch: str
    note: str = ""


class Todo(ToolResult):
    """One item of the agent's own list."""

    content: str
    status: str
    priority: str


class Todos(ToolResult):
    """The agent's own list."""

    todos: list[Todo]
    note: str = ""


class Paths(ToolResult):
    """Paths relative to the repository's top."""

    paths: list[str]
    note: str = ""


class FoundLine(ToolResult):
    """One line."""

    path: str
    line: int
    text: str


class FoundLines(ToolResult):
    """Lines that match."""

    hits: list[FoundLine]
    note: str = ""


class FileContent(ToolResult):
    """Some lines of a file."""

    path: str
    content: str
    first_line: int
    last_line: int
    size: int
    note: str = ""


class JsonDocument(ToolResult):
    """A JSON document without its secrets."""

    document: dict[str, Any]
    note: str = ""


class Provider(ToolResult):
    """One provider of models."""

    id: str
    name: str
    models: list[str]


class Providers(ToolResult):
    """Providers and their models, as `provider/model`."""

    providers: list[Provider]
    default: str = ""
    note: str = ""


class Permission(Waiting):
    """One permission that is asked for."""

    permission: str
    patterns: list[str]
    command: str = ""


class Permissions(ToolResult):
    """Permissions that are asked for."""

    permissions: list[Permission]
    note: str = ""


class Question(ToolResult):
    """One question and what may be answered."""

    question: str
    options: list[str]
    multiple: bool = False


class Asked(Waiting):
    """One request: it wants an answer to each of its questions."""

    questions: list[Question]


class Questions(ToolResult):
    """Questions that are asked."""

    requests: list[Asked]
    note: str = ""


def head(text: str, limit: int = TEXT_CHARS) -> tuple[str, bool]:
    """Return the beginning of the text and whether it was cut."""
    return (text, False) if len(text) <= limit else (text[:limit] + "\n[cut here]", True)


def tail(text: str, limit: int = TEXT_CHARS) -> tuple[str, bool]:
    """Return the end of the text and whether it was cut."""
    return (text, False) if len(text) <= limit else ("[cut here]\n" + text[-limit:], True)
