"""Render statuses and answers as text for people. Pure."""

from __future__ import annotations

import re
import textwrap
import time
from typing import TYPE_CHECKING, Any, Final

from reconciler.api.results import ADD_KEY, GOES_ON, needs
from reconciler.core.plain_text import visible
from reconciler.frontends.cli.sizes import size
from reconciler.frontends.cli.terminal import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.api.results import ProjectResult
    from reconciler.frontends.cli.terminal import Paint

WIDTH: Final = 118
"""Columns to wrap sentences at where the width is unknown."""
LINES: Final = 3
"""Lines of a sentence below a table on a terminal: `status NAME` has all of it."""
NAMES: Final = 3
"""Projects named before a sentence that is true of several."""
_HEAD: Final = ("PROJECT", "DESIRED", "ACTUAL", "AGENT", "PID", "BRIDGE", "PID", "AGE", "REASON")
_WIDE: Final = ("KIND", "CONFINEMENT", "GENERATION", "RESTARTS", "LABELS", "GIT")
_PIDS: Final = (4, 6)
_GAP: Final = 2
_DOTS: Final = "..."
"""Not the one character, which some terminals cannot show."""
_NAME_ROOM: Final = 20
"""Columns of a name that stands beside others."""


def render_table(
    projects: Sequence[Mapping[str, Any]],
    now: float | None = None,
    *,
    width: int | None = None,
    paint: Paint = plain,
    wide: bool = False,
    headers: bool = True,
) -> str:
    """Render all projects, a line each, and below them what the user must do.

    Args:
        projects: their statuses.
        now: seconds since the epoch.
        width: columns to fit into. Nothing is cut without it.
        paint: how to colour a part.
        wide: with more columns.
        headers: with a line of titles, and what the user must do.
    """
    if not projects:
        return "There are no projects yet. Start one with: opencode-manager start NAME GIT_URL" if headers else ""
    at = time.time() if now is None else now
    rows = [_HEAD, *(_row(project, at) for project in projects)]
    if wide:
        extra = [_WIDE, *(_more(project) for project in projects)]
        rows = [(*row, *more) for row, more in zip(rows, extra, strict=True)]
    elif width is not None:
        rows = _fitted(rows, width)
    styles = [_styles(project, len(rows[0])) for project in projects]
    lines = table(rows[0] if headers else None, rows[1:], paint=paint, styles=styles)
    return "\n".join([*lines, *(_troubles(projects, width, paint) if headers else ())])


def table(
    head: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    *,
    paint: Paint = plain,
    styles: Sequence[Sequence[str]] = (),
    right: frozenset[int] = frozenset(),
) -> list[str]:
    """Return aligned lines.

    Args:
        head: the titles; None: there are none.
        rows: the cells.
        paint: how to colour a cell.
        styles: of each cell; empty is none.
        right: columns of numbers, which are aligned at their ends.
    """
    everything = [*([head] if head else []), *rows]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    looks = [*([["bold"] * len(widths)] if head else []), *(styles or [[""] * len(widths)] * len(rows))]
    lines = []
    for row, look in zip(everything, looks, strict=True):
        cells = [
            cell.rjust(size) if column in right else cell.ljust(size)
            for column, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        shown = [paint(cell, style) if style else cell for cell, style in zip(cells, look, strict=True)]
        lines.append((" " * _GAP).join(shown).rstrip())
    return lines


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


def _more(project: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a wide table."""
    return (
        project["kind"],
        project.get("confinement") or "-",
        f"{project['observed_generation']}/{project['generation']}",
        str(project["agent"]["restarts"] + project["bridge"]["restarts"]),
        ",".join(f"{key}={value}" for key, value in project.get("labels", {}).items()) or "-",
        f"{project['git_url']} {project['git_ref'] or ''}".strip() or "-",
    )


def _fitted(rows: list[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """Fit the table into so many columns: ports instead of addresses, then no pids, then names and reasons cut."""
    if _total(rows) <= width:
        return rows
    ports = [tuple(_port(cell) if column in {3, 5} else cell for column, cell in enumerate(row)) for row in rows]
    if _total(ports) <= width:
        return ports
    short = [tuple(cell for column, cell in enumerate(row) if column not in _PIDS) for row in ports]
    too_wide = _total(short) - width
    if too_wide <= 0:
        return short
    longest, reason = max(len(row[0]) for row in short), max(len(row[-1]) for row in short)
    for_name = max(longest - too_wide, min(longest, 12))
    for_reason = max(reason - (too_wide - (longest - for_name)), 8)
    return [(middle_cut(row[0], for_name), *row[1:-1], cut(row[-1], for_reason)) for row in short]


def _total(rows: Sequence[tuple[str, ...]]) -> int:
    columns = zip(*rows, strict=True)
    return sum(max(map(len, column)) for column in columns) + _GAP * (len(rows[0]) - 1)


def _port(url: str) -> str:
    return f":{url.removesuffix('/mcp').rpartition(':')[2]}" if ":" in url else url


def cut(text: str, room: int) -> str:
    """Return the text, with an ellipsis for what does not fit."""
    return text if len(text) <= room else f"{text[: room - len(_DOTS)]}{_DOTS}"


def middle_cut(name: str, room: int) -> str:
    """Cut the middle of a name: names of a family differ at their ends."""
    if len(name) <= room:
        return name
    end = (room - len(_DOTS)) // 2
    return f"{name[: room - len(_DOTS) - end]}{_DOTS}{name[-end:]}"


def _styles(project: Mapping[str, Any], columns: int) -> list[str]:
    styles = [""] * columns
    styles[2] = {"running": "green", "partial": "yellow"}.get(project["actual"], "")
    styles[min(columns, len(_HEAD)) - 1] = _mood(project)
    return styles


def _mood(project: Mapping[str, Any]) -> str:
    """Return the colour of a state."""
    if project["stalled"]["status"]:
        return "yellow" if project["reason"].startswith("Waiting") else "red"
    return "green" if project["ready"]["status"] else "cyan"


def _troubles(projects: Sequence[Mapping[str, Any]], width: int | None, paint: Paint) -> Iterator[str]:
    """Return what there is to say of each project, then once what applies to several."""
    said: dict[str, list[tuple[str, str]]] = {}
    for project in projects:
        if message := _message(project):
            yield from _paragraph(project["name"], message, width, paint, rest=f"status {project['name']}")
        if project["public_key"]:
            yield f"  {project['public_key']}"
        for text in project["warnings"]:
            said.setdefault(_of_any(text, project["name"]), []).append((project["name"], text))
    for shared, group in said.items():
        names = [name for name, _ in group]
        text = group[0][1] if len(group) == 1 else shared
        if width is not None and len(names) > 1:
            names = [middle_cut(name, _NAME_ROOM) for name in names]
        yield from _paragraph(_names(names, len(projects)), text, width, paint, rest=f"status {group[0][0]}")


def _message(project: Mapping[str, Any]) -> str:
    well = project["ready"]["status"] and not project["stalled"]["status"]
    return str(project["ready"]["message"] if well else project["message"])


def note(text: str, width: int | None) -> str:
    """Return what to know before relying on the output, in so many columns."""
    return "\n".join(wrap(f"note: {text}", width, "  ")) if width else f"note: {text}"


def wrap(text: str, width: int, indent: str = "", first: str = "") -> list[str]:
    """Wrap the text, keeping its own lines. A path, an address or a command's option stays whole, to be copied."""
    wrapper = textwrap.TextWrapper(
        width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
    return [wrapped for line in text.splitlines() for wrapped in wrapper.wrap(line)]


def _of_any(text: str, name: str) -> str:
    """Turn a sentence about one project into one about any."""
    for before, after in (("opencode-sandboxes/", "/"), ("/", ".yaml"), ("opencode-keys/", "-deploy")):
        text = text.replace(f"{before}{name}{after}", f"{before}NAME{after}")
    return re.sub(rf"(opencode-manager [a-z-]+) {re.escape(name)}(?![\w-])", r"\1 NAME", text)


def _names(names: Sequence[str], of: int) -> str:
    if len(names) == of and of > NAMES:
        return f"all {of} projects"
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return f"{', '.join(names[:NAMES])}{more}"


def _paragraph(who: str, text: str, width: int | None, paint: Paint, rest: str = "") -> Iterator[str]:
    """Return a paragraph below the table; on a terminal at most some lines of it, where a command shows the rest."""
    room = min(width or WIDTH, WIDTH)
    several = "\n" in text  # each problem below the name
    lines = [f"{who}:", *wrap(text, room, "    ", "  ")] if several else wrap(f"{who}: {text}", room, "  ")
    if rest and width is not None and len(lines) > LINES:
        see = f"  (more: opencode-manager {rest})"
        last = cut(f"{lines[LINES - 1]} {_DOTS}", room)
        lines = [*lines[: LINES - 1], last, *([see] if len(see) <= room else [])]
    yield ""
    if lines[0].startswith(f"{who}:"):
        lines[0] = paint(f"{who}:", "bold") + lines[0][len(who) + 1 :]
    yield from lines


def render_status(
    project: Mapping[str, Any], now: float | None = None, *, width: int | None = None, paint: Paint = plain
) -> str:
    """Render one project in full: nothing is cut, and on a terminal everything is wrapped."""
    at = time.time() if now is None else now
    rows = [
        ("Project", project["name"]),
        ("Desired", project["desired"]),
        ("Actual", project["actual"]),
        ("OpenCode", _service(project["agent"], at)),
        ("MCP Tool", _service(project["bridge"], at)),
        ("Git", f"{project['git_url']} {project['git_ref'] or ''}".strip()),
        ("Sandbox", project["sandbox"]),
        ("Confinement", project.get("confinement") or "-"),
        *([("Handed over", given)] if (given := project.get("handed_over")) else []),
        *(("Limits", _limit(limit)) for limit in project.get("limits", ())),
        ("Generation", f"{project['generation']}, acted on: {project['observed_generation']}"),
    ]
    for name in ("ready", "reconciling", "stalled"):
        condition = project[name]
        is_so = paint(str(condition["status"]), _colour_of(name) if condition["status"] else "dim")
        text = f"{is_so}  {condition['reason']}, for {age(at - condition['since'])}"
        rows.append((name.capitalize(), text))
    rows += [("Activity", activity)] if (activity := _activity(project, at)) else []
    rows += [("Needs", need) for need in needs(project)]
    rows += [("Planned", planned) for planned in project["planned"]]
    if project["not_enforced"]:
        rows.append(("Not enforced yet", ", ".join(project["not_enforced"])))
    rows.append(("Observed", f"{age(at - project['observed'])} ago"))
    below: list[str] = []
    for text in filter(None, (_message(project), *project["warnings"])):
        below += _paragraph(project["name"], text, width, paint)
        if project["public_key"] and text == _message(project):
            below.append(f"  {project['public_key']}")
    return "\n".join([*_aligned(rows, width, paint), *below])


def _limit(limit: Mapping[str, Any]) -> str:
    """Return one limit of a project: `memory 512.0 MiB of 2.0 GiB, enforced by cgroup v2`."""
    value, used = (
        number if number is None or limit["name"] != "memory" else size(int(number))
        for number in (limit["value"], limit["used"])
    )
    amount = f"{value}" if used is None else f"{used} of {value}"
    return f"{limit['name']} {amount}, enforced by {limit['enforced_by']}"


def _activity(project: Mapping[str, Any], now: float) -> str:
    found = project.get("activity")
    if not found:
        return ""
    return f"{found['state']} for {age(now - found['since'])}: {found['why']}".removesuffix(": ")


def render_diff(diff: str, paint: Paint = plain) -> str:
    """Colour a unified diff. Lines that others wrote are made safe to show."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    lines = [visible(line) for line in diff.splitlines()]
    return "\n".join(paint(line, style) if (style := colours.get(line[:1])) else line for line in lines)


def render_results(results: Sequence[ProjectResult]) -> str:
    """Render the answers to requests about several projects, a line each, and the keys that somebody must add."""
    rows = [(result.project, result.status, f"{result.reason}: {result.message}".strip(": ")) for result in results]
    keys = [f"{result.project}: {ADD_KEY}:\n{result.public_key}" for result in results if result.public_key]
    return "\n".join([*table(("PROJECT", "STATUS", "REASON"), rows), *(f"\n{key}" for key in keys)])


def render_result(result: ProjectResult) -> str:
    """Render the answer to a request, in the words of the user's own example."""
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
            lines += ["", *wrap(f"{result.reason}: {result.message}", WIDTH)]
    elif result.message or result.reason:
        lines += ["", *wrap(result.message or result.reason, WIDTH)]
    if result.public_key:
        lines += ["", f"{ADD_KEY.capitalize()}:", result.public_key, ""]
        lines += [f"Public key saved at: {result.public_key_path}", f"{GOES_ON.capitalize()}."]
    if result.warning:
        lines += ["", *wrap(f"Warning: {result.warning}", WIDTH)]
    return "\n".join(lines)


def age(seconds: float) -> str:
    """Return a duration in its two largest units: `5s`, `3m10s`, `2h5m`, `4d3h`."""
    left = max(0, int(seconds))
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def _aligned(rows: Sequence[tuple[str, str]], width: int | None = None, paint: Paint = plain) -> list[str]:
    lines, indent = [], max(len(name) for name, _ in rows) + 2
    for name, text in rows:
        room = max(width - indent, 20) if width is not None else None
        first, *more = wrap(text, room) or [""] if room else [text]
        lines.append(f"{paint(f'{name}:'.ljust(indent - 1), 'bold')} {first}")
        lines += [" " * indent + line for line in more]
    return lines


def _colour_of(condition: str) -> str:
    return {"ready": "green", "stalled": "red"}.get(condition, "cyan")


def _service(service: Mapping[str, Any], now: float) -> str:
    text = str(service["state"])
    if service["pid"]:
        up = f", up {age(now - service['started'])}" if service["started"] else ""  # a lost record has no time
        text += f" (PID {service['pid']}, port {service['port']}{up})"
    if service["restarts"]:
        often = "once" if service["restarts"] == 1 else f"{service['restarts']} times, last"
        text += f", restarted {often} after {service['last_exit']}"
    if service["last_health_check"]:
        text += f", health checked {age(now - service['last_health_check'])} ago"
    return text
