"""Agents of an engine in memory that take down what they are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.agents.base import Reply
    from reconciler.core.spec import Spec


class AnsweredAgents:
    """The part of an engine that answers agents."""

    answers: list[tuple[str, object, Reply | None, bool]]
    """Answers that agents were sent."""
    deaf: list[Exception]
    """How the next of them fail."""

    async def answer(self, name: str, _spec: Spec, request: str, reply: Reply, *, again: bool) -> None:
        self.answers.append((name, request, reply, again))
        if self.deaf:
            raise self.deaf.pop(0)

    async def resume(self, name: str, _spec: Spec, sessions: Sequence[str]) -> None:
        self.answers.append((name, tuple(sessions), None, False))
        if self.deaf:
            raise self.deaf.pop(0)
