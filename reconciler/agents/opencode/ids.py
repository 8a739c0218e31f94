"""The ids that callers name: they become part of a path, so they are checked before anything else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

if TYPE_CHECKING:
    from collections.abc import Callable


def _checked(prefix: str, what: str, source: str) -> Callable[[str], str]:
    pattern = re.compile(rf"{prefix}_[A-Za-z0-9]{{1,64}}")

    def check(value: str) -> str:
        if pattern.fullmatch(value):
            return value
        raise ValueError(f"must be the id of a {what}, which looks like {prefix}_...; {source} has them")

    return check


SessionId = Annotated[
    str,
    AfterValidator(_checked("ses", "session", "opencode-session-list")),
    Field(description="A session (ses_...)"),
]
MessageId = Annotated[
    str,
    AfterValidator(_checked("msg", "message", "opencode-session-messages")),
    Field(description="A message (msg_...)"),
]
PermissionId = Annotated[
    str,
    AfterValidator(_checked("per", "permission", "opencode-permission-list")),
    Field(description="From opencode-permission-list (per_...)"),
]
QuestionId = Annotated[
    str,
    AfterValidator(_checked("que", "question", "opencode-question-list")),
    Field(description="From opencode-question-list (que_...)"),
]
