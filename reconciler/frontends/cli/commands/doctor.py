"""Check everything that agents need, and say how to fix what is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.api import doctor
from reconciler.core import plain_text
from reconciler.core.findings import Finding, Level
from reconciler.frontends.cli import flags, output, render, terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.frontends.cli.terminal import Paint
    from reconciler.settings import Settings

_COLOURS = {Level.OK: "green", Level.NOTE: "yellow", Level.PROBLEM: "red"}


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("It changes nothing. Exit code 1: there is a problem; a note is none.", "doctor", "doctor -o json")
    flags.output(parser, watch=False)


def run(settings: Settings, options: Namespace) -> int:
    """Print a line for each finding."""
    found = doctor.findings(settings)
    if options.output in output.FOR_PEOPLE:
        out = sys.stdout
        lines = render_findings(found, width=terminal.width(out), paint=terminal.painter(out))
        print("\n".join(lines if options.no_headers else [*lines, "", summary(found)]))
    else:
        records = [plain_text.document({**vars(finding), "level": finding.level.value}) for finding in found]
        output.show(options.output, records, key="area")
    return 1 if any(finding.level is Level.PROBLEM for finding in found) else 0


def render_findings(found: Sequence[Finding], *, width: int | None = None, paint: Paint = terminal.plain) -> list[str]:
    """Render them, the cure below what it cures.

    Args:
        found: the findings.
        width: columns to fit into.
        paint: how to colour a part.
    """
    first = max((len(finding.area) for finding in found), default=0)
    indent = " " * (len(Level.PROBLEM) + first + 4)
    lines = []
    for finding in found:
        level = paint(finding.level.value.ljust(len(Level.PROBLEM)), _COLOURS[finding.level])
        message = _wrapped(plain_text.plain(finding.message), width, indent)
        lines.append(f"{level}  {finding.area.ljust(first)}  {message}")
        if finding.cure:
            lines.append(f"{indent}{_wrapped(f'fix: {plain_text.plain(finding.cure)}', width, indent)}")
    return lines


def _wrapped(text: str, width: int | None, indent: str) -> str:
    return f"\n{indent}".join(render.wrap(text, max(width - len(indent), 20))) if width else text


def summary(found: Sequence[Finding]) -> str:
    """Return how it stands on the whole."""
    problems, notes = (sum(finding.level is level for finding in found) for level in (Level.PROBLEM, Level.NOTE))
    if not problems and not notes:
        return "Everything is well."
    parts = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in ((problems, "problem"), (notes, "note"))]
    return f"{' and '.join(parts)} in {len(found)} lines."
