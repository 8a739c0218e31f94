"""Show what projects use of the machine."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.api import consumption, engine_access
from reconciler.frontends.cli import flags, output, render, selection, terminal, watching
from reconciler.frontends.cli.sizes import size
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from reconciler.api.consumption import Row
    from reconciler.frontends.cli.grammar import Parser
    from reconciler.frontends.cli.terminal import Paint
    from reconciler.settings import Settings

SORTS: Final = ("memory", "cpu", "tasks", "name")
_FIRST: Final = 0.5
"""Seconds between the first two looks: a rate of less is noise."""


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "CPU is in processors: 1.50 is one and a half. Memory is what the whole tree of each service holds.",
        "top",
        "top -w --sort cpu",
    )
    flags.projects(parser, default="all")
    flags.output(parser)
    parser.add_argument("--sort", choices=SORTS, default="memory", metavar="BY", help=f"{', '.join(SORTS)}")
    parser.add_argument("--disk", action="store_true", help="also what their files take, which reads every folder")


def run(settings: Settings, options: Namespace) -> int:
    """Print a line for each project, and the sum."""
    names = selection.existing(settings, options, "measure")
    before = consumption.sample(settings, names)
    threading.Event().wait(_FIRST)

    def show() -> int:
        nonlocal before
        now = consumption.sample(settings, names)
        rows = consumption.rows(names, before, now)
        before = now
        projects = published.read(settings.home).projects
        rows = [replace(row, limits=consumption.limits_of(projects.get(row.name, {}))) for row in rows]
        if options.disk:
            rows = [replace(row, disk=engine_access.disk(settings, row.name)) for row in rows]
        _show(ordered(rows, options.sort), options)
        return 0

    return watching.repeat(settings, show, always=True) if options.watch else show()


def ordered(rows: Sequence[Row], by: str) -> list[Row]:
    """Return them sorted: the largest first, names from a to z."""
    keys: dict[str, Any] = {
        "memory": lambda row: -row.memory,
        "cpu": lambda row: -row.share,
        "tasks": lambda row: -row.tasks,
        "name": lambda row: row.name,
    }
    return sorted(rows, key=lambda row: (keys[by](row), row.name))


def _show(rows: Sequence[Row], options: Namespace) -> None:
    if options.output in output.FOR_PEOPLE:
        print("\n".join(render_rows(rows, headers=not options.no_headers, paint=terminal.painter(sys.stdout))))
    else:
        output.show(
            options.output, [{**vars(row), "parts": dict(row.parts), "limits": dict(row.limits)} for row in rows]
        )


def render_rows(rows: Sequence[Row], *, headers: bool = True, paint: Paint = terminal.plain) -> list[str]:
    """Render them, numbers aligned at their ends."""
    if not rows:
        return ["There are no projects yet. Start one with: opencode-manager start NAME GIT_URL"] if headers else []
    disk, limits = any(row.disk is not None for row in rows), any(row.limits for row in rows)
    head = ("PROJECT", "CPU", "MEMORY", "AGENT", "BRIDGE", "TASKS", "CPU TIME", *(("DISK",) if disk else ()))
    cells = [_cells(row, disk=disk) for row in rows]
    if len(rows) > 1 and headers:
        total = consumption.Row(
            name="total",
            memory=sum(row.memory for row in rows),
            share=sum(row.share for row in rows),
            cpu=sum(row.cpu for row in rows),
            tasks=sum(row.tasks for row in rows),
            running=True,
            parts={part: sum(row.parts.get(part, 0) for row in rows) for part in ("agent", "bridge")},
            disk=sum(row.disk or 0 for row in rows),
        )
        cells.append(_cells(total, disk=disk))
    right = frozenset(range(1, len(head)))
    if limits:
        head += ("LIMITS",)
        cells = [(*line, _limits(row)) for line, row in zip(cells, [*rows, consumption.Row(name="")], strict=False)]
    return render.table(head if headers else None, cells, paint=paint, right=right)


def _limits(row: Row) -> str:
    """Return `2.0 GiB, 1.5 cpus, 200 tasks`: what is limited."""
    shown = (size(int(value)) if name == "memory" else f"{value:g} {name}" for name, value in row.limits.items())
    return ", ".join(shown) or "-"


def _cells(row: Row, *, disk: bool) -> tuple[str, ...]:
    last = (size(row.disk or 0),) if disk else ()
    if not row.running:
        return (row.name, *("-",) * 6, *last)
    parts = (size(row.parts[part]) if part in row.parts else "-" for part in ("agent", "bridge"))
    return (row.name, f"{row.share:.2f}", size(row.memory), *parts, str(row.tasks), render.age(row.cpu), *last)
