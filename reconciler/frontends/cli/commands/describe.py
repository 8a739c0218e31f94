"""Show everything about projects that a bug report needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from reconciler.api import description
from reconciler.frontends.cli import flags, output, render, selection, terminal
from reconciler.frontends.cli.render_events import EventTable
from reconciler.mcpkit import redact

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Mapping

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


_INDENT: Final = "  "


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Versions, status, spec, differences, environment, the last events. Read it before you publish it: secrets are "
        "left out where they can be known.",
        "describe blog-api",
        "describe blog-api -o yaml > report.yaml",
    )
    flags.projects(parser)
    flags.output(parser, watch=False)


def run(settings: Settings, options: Namespace) -> int:
    """Print a report for each project."""
    names = selection.chosen(settings, options, "describe")
    found = {name: description.of(settings, name) for name in names}
    if options.output in output.FOR_PEOPLE:
        print("\n\n".join("\n".join(_report(settings, name, data)) for name, data in found.items()))
    else:
        output.show(options.output, list(found.values()), alone=selection.one_by_name(options))
    return 0


def _report(settings: Settings, name: str, data: Mapping[str, Any]) -> Iterator[str]:
    width, paint = terminal.width(sys.stdout), terminal.painter(sys.stdout)
    yield render.render_status(data["status"], width=width, paint=paint)
    sections = {
        "Versions": [f"{part}: {value}" for part, value in data["versions"].items()],
        "Notes": data["notes"],
        "Spec in force": output.text("yaml", [data["spec"]], alone=True).splitlines() if data["spec"] else [],
        "Spec on disk differs": data["difference"],
        "Environment of the agent": data["variables"],
    }
    for title, lines in sections.items():
        if lines:
            yield from ("", paint(f"{title}:", "bold"), *(f"{_INDENT}{line}" for line in lines))
    table = EventTable(width and width - len(_INDENT), paint)
    events = [redact.text(line) for line in table.lines(description.events(settings, name))]
    yield from ("", paint(f"Last events (at most {description.EVENTS}):", "bold"))
    yield from (f"{_INDENT}{line}" for line in events)
