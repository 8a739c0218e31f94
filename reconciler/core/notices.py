"""What people who are away are notified of: once for each cause until it clears. Pure.

Nothing that an agent says goes out unless the settings allow it, and never a secret: a notice names the project, what
kind of thing waits, and the command that shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.plain_text import plain
from reconciler.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.core.needs import Need
    from reconciler.core.status import ProjectStatus

PARKED: Final = frozenset({Reason.CRASH_LOOP, Reason.EXITED, Reason.WEDGED, Reason.NOT_CONVERGING})
"""Reasons why a project is not started again, or only seldom."""
_PARKED: Final = "parked"


class NoticeKind(StrEnum):
    """What a notice is about; settings choose by it."""

    NEEDS = "needs"
    PARKED = "parked"
    RECOVERED = "recovered"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One message."""

    cause: str
    """The same for the same cause: it goes out once until that clears."""
    kind: NoticeKind
    project: str
    title: str
    message: str
    words: str = ""
    """What the agent or a message says; goes out only where that is allowed."""
    at: float
    """Wall clock, seconds since the epoch."""
    do: str
    """The command that shows more."""

    def body(self, *, words: bool) -> dict[str, Any]:
        """Return what is sent as JSON; `words`: whether the agent's own may be in it."""
        said = f"{self.message}: {plain(self.words)}" if words and self.words else self.message
        return {
            "id": self.cause,
            "kind": self.kind.value,
            "project": self.project,
            "title": self.title,
            "message": said,
            "time": self.at,
            "do": self.do,
        }


def of(status: ProjectStatus, was_parked: frozenset[str]) -> Iterator[Notice]:
    """Yield every cause that there is now in a project.

    Args:
        status: of the project.
        was_parked: projects that were parked and have not recovered.
    """
    for need in status.needs:
        yield _of_need(need)
    if status.reason in PARKED:
        yield Notice(
            cause=f"{status.name} {_PARKED} {status.reason}",
            kind=NoticeKind.PARKED,
            project=status.name,
            title=f"{status.name} is parked",
            message=f"{status.name} does not run ({status.reason})",
            words=status.message,
            at=status.observed,
            do=f"opencode-manager status {status.name}",
        )
    elif status.name in was_parked and status.ready.status:
        yield Notice(
            cause=f"{status.name} recovered",
            kind=NoticeKind.RECOVERED,
            project=status.name,
            title=f"{status.name} has recovered",
            message=f"{status.name} is as desired again",
            at=status.observed,
            do=f"opencode-manager status {status.name}",
        )


def parked(status: ProjectStatus, was_parked: frozenset[str]) -> frozenset[str]:
    """Return the projects that are parked or have not recovered, after this status."""
    if status.reason in PARKED:
        return was_parked | {status.name}
    return was_parked - {status.name} if status.ready.status else was_parked


def _of_need(need: Need) -> Notice:
    tool = f" ({plain(need.tool, 40)})" if need.tool else ""
    return Notice(
        cause=f"{need.project} {need.id} {need.since:.0f}",
        kind=NoticeKind.NEEDS,
        project=need.project,
        title=f"{need.project} needs you",
        message=f"{need.project} waits for a person: {need.kind}{tool}",
        words=need.command or need.message,
        at=need.since,
        do=f"opencode-manager needs {need.project}",
    )


def ntfy(body: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Return a body as ntfy takes it, with its headers."""
    urgent = body["kind"] != NoticeKind.RECOVERED
    headers = {
        "title": body["title"],
        "priority": "high" if urgent else "default",
        "tags": "warning" if urgent else "white_check_mark",
    }
    return f"{body['message']}\n{body['do']}".encode(), headers
