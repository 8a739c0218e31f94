"""What a session is doing, judged from one look at it, pure.

A look that says "idle" proves nothing by itself: OpenCode takes over a second before it shows a new prompt as busy, and
after a crash it shows an interrupted one as idle. So the verdict goes by the newest message, and two of its cases,
UNANSWERED and INTERRUPTED, count only when they last.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.plain_text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ABORTED: Final = "MessageAbortedError"


class SessionState(StrEnum):
    """The state of a session for its caller."""

    DONE = "done"
    RUNNING = "running"
    WAITING_PERMISSION = "waiting_permission"
    WAITING_QUESTION = "waiting_question"
    RETRY = "retry"
    ERROR = "error"


class Doubt(StrEnum):
    """Why a verdict needs to last before it counts."""

    NONE = ""
    UNANSWERED = "unanswered"
    """Idle, and the newest message is a prompt: it has not begun, or never will."""
    INTERRUPTED = "interrupted"
    """Idle, and the newest answer is not complete: it ends right now, or its process died."""
    UNREACHABLE = "unreachable"
    """Nobody could be asked: a dead server is started again, so it may pass."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a session."""

    id: str
    role: str
    text: str
    parts: Mapping[str, str]
    """The text by the id of its part, to lay what was streamed over it."""
    tools: tuple[str, ...]
    """What it did, one line a call."""
    created: float
    """Wall clock, seconds."""
    complete: bool
    finish: str
    """Empty without one: a completed message without it was aborted before it began."""
    error: str
    """Name and text; empty without one."""
    parent: str
    """Of an answer: the prompt it answers."""
    model: str
    """Of a prompt: provider/model it is meant for; empty where OpenCode does not say."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One look at a session."""

    status: Mapping[str, Any]
    """OpenCode's: empty when idle."""
    messages: Sequence[Message]
    """The newest ones, oldest first."""
    permissions: Sequence[Mapping[str, Any]] = ()
    questions: Sequence[Mapping[str, Any]] = ()

    @property
    def newest(self) -> Message | None:
        """The newest message."""
        return self.messages[-1] if self.messages else None

    @property
    def prompt(self) -> Message | None:
        """The newest prompt."""
        return next((message for message in reversed(self.messages) if message.role == "user"), None)

    def answers(self, since: str) -> list[Message]:
        """Return the agent's messages after the message `since`; ids rise with time."""
        return [message for message in self.messages if message.role == "assistant" and message.id > since]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one look amounts to."""

    state: SessionState
    detail: str = ""
    """For people: what is wrong or waited for, and what to do."""
    doubt: Doubt = Doubt.NONE


def judge(sight: Snapshot, since: str) -> Verdict:
    """Judge what the session is doing about the message `since` and what came after it."""
    if sight.permissions:
        return Verdict(
            state=SessionState.WAITING_PERMISSION, detail="answer with opencode-permission-reply, then call again"
        )
    if sight.questions:
        return Verdict(
            state=SessionState.WAITING_QUESTION, detail="answer with opencode-question-reply, then call again"
        )
    kind = sight.status.get("type", "idle")
    if kind == "retry":
        return Verdict(state=SessionState.RETRY, detail=_retry(sight.status))
    newest = sight.newest
    if kind != "idle":
        return Verdict(state=SessionState.RUNNING)
    if newest is None or newest.id < since or newest.role != "assistant":
        return Verdict(state=SessionState.RUNNING, detail="the agent has not begun to answer", doubt=Doubt.UNANSWERED)
    if newest.error:
        return Verdict(state=SessionState.ERROR, detail=newest.error)
    if not newest.complete or newest.finish == "tool-calls":
        return Verdict(state=SessionState.RUNNING, doubt=Doubt.INTERRUPTED)
    if not newest.finish:
        return Verdict(
            state=SessionState.ERROR, detail="the run ended without an answer: it was aborted, or its model failed"
        )
    return Verdict(state=SessionState.DONE)


def attempts(sight: Snapshot) -> int:
    """Return how often the model was tried in vain; 0 when it is not being retried."""
    return int(sight.status.get("attempt") or 1) if sight.status.get("type") == "retry" else 0


def read_message(raw: Mapping[str, Any]) -> Message:
    """Parse one message of OpenCode."""
    info = raw.get("info") or {}
    parts = [part for part in raw.get("parts") or () if isinstance(part, dict)]
    texts = {
        str(part.get("id")): str(part.get("text") or "")
        for part in parts
        if part.get("type") == "text" and not part.get("synthetic")
    }
    times = info.get("time") or {}
    model = info.get("model") or {}
    return Message(
        id=str(info.get("id") or ""),
        role=str(info.get("role") or ""),
        text="\n\n".join(text for text in texts.values() if text),
        parts=texts,
        tools=tuple(_tool(part) for part in parts if part.get("type") == "tool"),
        created=float(times.get("created") or 0) / 1000,
        complete=bool(times.get("completed")),
        finish=str(info.get("finish") or ""),
        error=read_error(info.get("error")),
        parent=str(info.get("parentID") or ""),
        model=f"{model.get('providerID')}/{model.get('modelID')}" if model else "",
    )


def read_error(raw: object) -> str:
    """Return an error of OpenCode as one line."""
    if not isinstance(raw, dict):
        return ""
    data = raw.get("data")
    message = data.get("message") if isinstance(data, dict) else raw.get("message")
    name = str(raw.get("name") or "Error")
    return "the run was aborted" if name == ABORTED else plain(f"{name}: {message or 'no further words'}", 1000)


def message_id(wall: float) -> str:
    """Make a message id like OpenCode's: ids rise with time, and its loop relies on that.

    Having chosen it, we can ask after a lost reply whether the message was taken, instead of sending it twice.
    """
    stamp = (int(wall * 1000) * 0x1000 + 1) % 2**48
    return f"msg_{stamp:012x}{secrets.token_hex(7)}"


def _tool(part: Mapping[str, Any]) -> str:
    state = part.get("state") or {}
    title = state.get("title") or state.get("error") or ""
    return plain(f"{part.get('tool')}: {state.get('status')} {title}".strip(), 200)


def _retry(status: Mapping[str, Any]) -> str:
    why = plain(status.get("message") or "no reason given")
    return (
        f"the model fails (attempt {status.get('attempt')}: {why}); OpenCode keeps trying: call again without content"
        " to wait on, or stop it with opencode-session-abort"
    )
