"""Statuses and answers as text for people, pure.

Belongs here: wording and alignment. Does not belong here: reading, waiting, or printing.
"""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING, Any, Final

from reconciler.results import ADD_KEY, GOES_ON

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.results import Result

WIDTH: Final = 118
_HEAD: Final = ("PROJECT", "DESIRED", "ACTUAL", "AGENT", "PID", "BRIDGE", "PID", "AGE", "REASON")


def render_table(projects: Sequence[Mapping[str, Any]], now: float | None = None) -> str:
    """All projects, a line each; below them what somebody has to do."""
    if not projects:
        return "There are no projects yet. Start one with: opencode-manager start NAME GIT_URL"
    at = time.time() if now is None else now
    rows = [_HEAD, *(_row(project, at) for project in projects)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(line for project in projects for line in _trouble(project))])


def _row(project: Mapping[str, Any], now: float) -> tuple[str, ...]:
    agent, bridge = project["agent"], project["bridge"]
    return (
        project["name"],
        project["desired"],
        project["actual"],
        *(agent["url"] or "-", str(agent["pid"] or "-")),
        *(bridge["url"] or "-", str(bridge["pid"] or "-")),
        age(now - (agent["started"] or project["ready"]["since"])),  # of what runs, or of how it stands
        project["reason"],
    )


def _trouble(project: Mapping[str, Any]) -> Iterator[str]:
    well = project["ready"]["status"] and not project["stalled"]["status"]
    message = project["ready"]["message"] if well else project["message"]
    for text in filter(None, (message, *project["warnings"])):
        yield ""
        if "\n" in text:  # several problems, each below the name
            yield f"{project['name']}:"
            yield from _wrapped(text, "  ", "    ")
        else:
            yield from _wrapped(f"{project['name']}: {text}", later="  ")
    if project["public_key"]:
        yield f"  {project['public_key']}"


def render_status(project: Mapping[str, Any], now: float | None = None) -> str:
    """One project in full."""
    at = time.time() if now is None else now
    rows = [
        ("Project", project["name"]),
        ("Desired", project["desired"]),
        ("Actual", project["actual"]),
        ("OpenCode", _service(project["agent"], at)),
        ("MCP Tool", _service(project["bridge"], at)),
        ("Git", f"{project['git_url']} {project['git_ref'] or ''}".strip()),
        ("Sandbox", project["sandbox"]),
        ("Generation", f"{project['generation']}, acted on: {project['observed_generation']}"),
    ]
    for name in ("ready", "reconciling", "stalled"):
        condition = project[name]
        text = f"{condition['status']}  {condition['reason']}, for {age(at - condition['since'])}"
        rows.append((name.capitalize(), text))
    rows += [("Planned", planned) for planned in project["planned"]]
    if project["not_enforced"]:
        rows.append(("Not enforced yet", ", ".join(project["not_enforced"])))
    rows.append(("Observed", f"{age(at - project['observed'])} ago"))
    return "\n".join([*_aligned(rows), *_trouble(project)])


def render_result(result: Result) -> str:
    """The answer to something that was asked for, in the words of the user's own example."""
    lines = [f"Status: {result.status}"]
    if result.status == "success" and result.actual == "running":
        lines += ["", f"Project {result.project} is running.", ""]
        lines += _aligned(
            [
                ("OpenCode Web", f"{result.opencode_url} (PID: {result.opencode_pid})"),
                ("MCP Tool", f"{result.mcp_tool_url} (PID: {result.mcp_tool_pid})"),
                ("Bearer token", f"(stored in {result.sandbox}/.env)"),
            ]
        )
        if result.message:  # it runs, and waits for somebody
            lines += ["", *_wrapped(f"{result.reason}: {result.message}")]
    elif result.message or result.reason:
        lines += ["", *_wrapped(result.message or result.reason)]
    if result.public_key:
        lines += ["", f"{ADD_KEY.capitalize()}:", result.public_key, ""]
        lines += [f"Public key saved at: {result.public_key_path}", f"{GOES_ON.capitalize()}."]
    if result.warning:
        lines += ["", *_wrapped(f"Warning: {result.warning}")]
    return "\n".join(lines)


def _wrapped(text: str, first: str = "", later: str = "") -> list[str]:
    """At words alone: what stands in two lines, a long path or URL, cannot be copied. Lines of their own stay so.

    Args:
        text: of one line or several.
        first: before each of these lines.
        later: before what is wrapped of one.
    """
    wrapper = textwrap.TextWrapper(
        WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False, break_long_words=False
    )
    return [wrapped for line in text.splitlines() for wrapped in wrapper.wrap(line)]


def age(seconds: float) -> str:
    """A duration in its two largest units: `5s`, `3m10s`, `2h5m`, `4d3h`."""
    left = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name + ':':<{width + 1}} {text}" for name, text in rows]


def _service(service: Mapping[str, Any], now: float) -> str:
    text = str(service["state"])
    if service["pid"]:
        text += f" (PID {service['pid']}, port {service['port']}, up {age(now - service['started'])})"
    if service["restarts"]:
        often = "once" if service["restarts"] == 1 else f"{service['restarts']} times, last"
        text += f", restarted {often} after {service['last_exit']}"
    if service["last_health_check"]:
        text += f", health checked {age(now - service['last_health_check'])} ago"
    return text
