"""Show how specs on disk differ from those in force."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.api import differences
from reconciler.frontends.cli import flags, output, render, requests, selection, terminal

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Compares what they mean, not how they are written; plan shows what would be done. Exit code 0: no difference, "
        "2: some, 1: error.",
        "diff",
        "diff blog-api",
        "diff -o name",
    )
    flags.projects(parser, default="all")
    flags.output(parser, watch=False)


def run(settings: Settings, options: Namespace) -> int:
    """Print a unified diff for each project that differs, or the same as data."""
    paint, codes, differing = terminal.painter(sys.stdout), [], []
    people = options.output in output.FOR_PEOPLE
    for name in selection.chosen(settings, options, "compare"):
        found = differences.of(settings, name)
        if found.text and people:
            print(render.render_diff(found.text, paint))
        elif found.text:
            differing.append({"name": name, "difference": found.text.splitlines()})
        if found.problem:
            print(found.problem, file=sys.stderr)
        codes.append(1 if found.problem else 2 if found.text else 0)
    if not people:
        output.show(options.output, differing)
    return requests.worst(codes)
