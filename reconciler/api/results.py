"""The answer to a request of a person or a program: one flat value made from a published status. Pure.

Nothing here costs an import: `status` and `list` must be fast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from reconciler.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["success", "waiting_for_key", "waiting_for_secrets", "in_progress", "error"]

START_CONTROLLER: Final = "start one with: opencode-manager run"

ADD_KEY: Final = "please add this public key to your repository"
GOES_ON: Final = "after that it goes on by itself"

_WAITING: Final[dict[str, Status]] = {
    Reason.WAITING_FOR_KEY: "waiting_for_key",
    Reason.WAITING_FOR_SECRETS: "waiting_for_secrets",
}


@dataclass(frozen=True, kw_only=True)
class ProjectResult:
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
    token_file: str = ""
    """Where the bridge's bearer token is."""
    # Only in a status in full:
    git_ref: str = ""
    confinement: str = ""
    """Of the agent that runs: bubblewrap or none."""
    handed_over: str = ""
    """How much of the user's that agent was given."""
    ready: str = ""
    """This and the next two: True or False, the reason, and since when."""
    reconciling: str = ""
    stalled: str = ""
    opencode_restarts: int | None = None
    opencode_last_exit: str = ""
    mcp_tool_restarts: int | None = None
    mcp_tool_last_exit: str = ""
    planned: tuple[str, ...] = ()
    activity: str = ""
    """What the agent does, since when, and why that is known."""
    needs: tuple[str, ...] = ()
    """What waits for a person: each with its id."""
    observed: str = ""


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
    activity: str = ""
    """working, idle, waiting, asleep or unknown."""
    needs: int = 0
    """How many things wait for a person: opencode_needs lists them."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All projects."""

    projects: tuple[Summary, ...]
    controller_running: bool
    warning: str = ""


def settled(status: Mapping[str, Any]) -> bool:
    """Tell whether reconciling is over, or cannot go on until somebody acts."""
    return bool(status["ready"]["status"] or status["stalled"]["status"])


def verdict(status: Mapping[str, Any]) -> Status:
    """Return the one word for the state of a project."""
    if status["ready"]["status"]:
        return "success"  # even if the agent within waits for a person: the message says so
    if status["stalled"]["status"]:
        return _WAITING.get(status["stalled"]["reason"], "error")
    return "in_progress"


def of_status(status: Mapping[str, Any]) -> ProjectResult:
    """Make the answer from a published status."""
    agent, bridge = status["agent"], status["bridge"]
    checks = [at for at in (agent["last_health_check"], bridge["last_health_check"]) if at]
    return ProjectResult(
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
        token_file=f"{status['sandbox']}/.env" if status["actual"] == "running" and status["sandbox"] else "",
    )


def in_full(status: Mapping[str, Any]) -> ProjectResult:
    """Make the answer with all that `status` shows: conditions, restarts, planned actions."""
    agent, bridge = status["agent"], status["bridge"]
    return replace(
        of_status(status),
        git_ref=status["git_ref"] or "",
        confinement=status.get("confinement", ""),  # a controller of an older version tells neither
        handed_over=status.get("handed_over", ""),
        ready=_condition(status["ready"]),
        reconciling=_condition(status["reconciling"]),
        stalled=_condition(status["stalled"]),
        opencode_restarts=agent["restarts"] or None,
        opencode_last_exit=agent["last_exit"],
        mcp_tool_restarts=bridge["restarts"] or None,
        mcp_tool_last_exit=bridge["last_exit"],
        planned=tuple(status["planned"]),
        activity=activity(status),
        needs=tuple(needs(status)),
        observed=iso(status["observed"]),
    )


def sentences(result: ProjectResult) -> tuple[str, ...]:
    """Say in sentences how it stands and what comes next: what every form of an answer to a chat must say."""
    asked = (ADD_KEY, GOES_ON) if result.public_key else ()
    return tuple(filter(None, (result.message or _standing(result), *asked, _next(result))))


def _standing(result: ProjectResult) -> str:
    """Say how it stands, for an answer without a message of its own."""
    if result.status == "success" and result.actual == "running":
        return f"Project {result.project} is running"
    if result.status == "success":
        return f"{result.project} is {result.actual}, as desired"
    return f"{result.project} is {result.actual}, {result.desired} is desired ({result.reason or 'Unknown'})"


def _next(result: ProjectResult) -> str:
    """Say what to do next with the tools; empty where the message says it."""
    if START_CONTROLLER in result.message:
        return ""
    if START_CONTROLLER in result.warning:
        return f"no controller is running; {START_CONTROLLER}"
    match result.status:
        case "waiting_for_key" | "in_progress":
            return "opencode_status shows how far it is"
        case "waiting_for_secrets":
            return f"{GOES_ON}; opencode_status shows how far it is"
        case "error" if not result.message:
            return f"see: opencode-manager logs {result.project} agent"
        case "error":
            return "opencode_status shows how it stands after that"
    if result.actual == "running":  # and a message is about somebody who has to answer, and how
        return "" if result.message else "go on with opencode-session-create"
    if result.desired == "stopped":
        return "opencode_start starts it again"
    return "opencode_start makes it again from its git url"


def summary(status: Mapping[str, Any]) -> Summary:
    """Summarise a published status in one line."""
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
        activity=status.get("activity", {}).get("state", ""),
        needs=len(status.get("needs", ())),
    )


def activity(status: Mapping[str, Any]) -> str:
    """What the agent does, for people; empty where an earlier version has published it."""
    found = status.get("activity")
    if not found:
        return ""
    return f"{found['state']} since {iso(found['since'])}: {found['why']}".removesuffix(": ")


def needs(status: Mapping[str, Any]) -> list[str]:
    """What waits for a person, a line each."""
    return [f"{need['id']} {need['kind']}: {need['message']}" for need in status.get("needs", ())]


def iso(seconds: float) -> str:
    """Format a wall clock time for people, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(condition: Mapping[str, Any]) -> str:
    return f"{condition['status']}: {condition['reason']}, since {iso(condition['since'])}"


def _not_enforced(status: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ", ".join(status["not_enforced"])
    return (f"not enforced yet: {keys}",) if keys else ()
