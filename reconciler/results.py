"""What a person or a program is told after asking for something: one flat answer, pure.

Belongs here: making an answer out of a published status. Does not belong here: reading the status (`reader`), wording
it for people (`render`), or asking (`client`). Nothing here costs an import: `status` and `list` must be fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["success", "waiting_for_key", "waiting_for_secrets", "in_progress", "error"]

START_CONTROLLER: Final = "start one with: opencode-manager run"

_WAITING: Final[dict[str, Status]] = {"WaitingForKey": "waiting_for_key", "WaitingForSecrets": "waiting_for_secrets"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One project's answer."""

    project: str
    status: Status
    message: str = ""
    reason: str = ""
    desired: str = "unknown"
    actual: str = "unknown"
    opencode_state: str = "stopped"
    opencode_url: str | None = None
    opencode_port: int | None = None
    opencode_pid: int | None = None
    mcp_tool_state: str = "stopped"
    mcp_tool_url: str | None = None
    mcp_tool_port: int | None = None
    mcp_tool_pid: int | None = None
    sandbox: str = ""
    git_url: str = ""
    last_health_check: str | None = None
    public_key: str | None = None
    public_key_path: str | None = None
    warning: str = ""
    generation: int = 0
    observed_generation: int = 0
    converged: bool = False


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One project in a list."""

    project: str
    desired: str
    actual: str
    reason: str
    message: str = ""
    opencode_url: str | None = None
    opencode_pid: int | None = None
    mcp_tool_url: str | None = None
    mcp_tool_pid: int | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All projects."""

    projects: tuple[Summary, ...]
    controller_running: bool
    warning: str = ""


def settled(status: Mapping[str, Any]) -> bool:
    """Whether reconciling is over, or cannot go on until somebody acts."""
    return bool(status["ready"]["status"] or status["stalled"]["status"])


def verdict(status: Mapping[str, Any]) -> Status:
    """The one word for how it stands."""
    if status["ready"]["status"]:
        return "success"  # even if the agent within waits for a person: the message says so
    if status["stalled"]["status"]:
        return _WAITING.get(status["stalled"]["reason"], "error")
    return "in_progress"


def of_status(status: Mapping[str, Any]) -> Result:
    """The answer in a published status."""
    agent, bridge = status["agent"], status["bridge"]
    checks = [at for at in (agent["last_health_check"], bridge["last_health_check"]) if at]
    return Result(
        project=status["name"],
        status=verdict(status),
        message=status["message"],
        reason=status["reason"],
        desired=status["desired"],
        actual=status["actual"],
        opencode_state=agent["state"],
        opencode_url=agent["url"],
        opencode_port=agent["port"],
        opencode_pid=agent["pid"],
        mcp_tool_state=bridge["state"],
        mcp_tool_url=bridge["url"],
        mcp_tool_port=bridge["port"],
        mcp_tool_pid=bridge["pid"],
        sandbox=status["sandbox"],
        git_url=status["git_url"],
        last_health_check=iso(max(checks)) if checks else None,
        public_key=status["public_key"],
        public_key_path=status["public_key_path"],
        warning="; ".join((*status["warnings"], *_not_enforced(status))),
        generation=status["generation"],
        observed_generation=status["observed_generation"],
        converged=status["ready"]["status"],
    )


def summary(status: Mapping[str, Any]) -> Summary:
    """The same, in a line."""
    return Summary(
        project=status["name"],
        desired=status["desired"],
        actual=status["actual"],
        reason=status["reason"],
        message=status["message"],
        opencode_url=status["agent"]["url"],
        opencode_pid=status["agent"]["pid"],
        mcp_tool_url=status["bridge"]["url"],
        mcp_tool_pid=status["bridge"]["pid"],
    )


def iso(seconds: float) -> str:
    """A wall clock time for people, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _not_enforced(status: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ", ".join(status["not_enforced"])
    return (f"not enforced yet: {keys}",) if keys else ()
