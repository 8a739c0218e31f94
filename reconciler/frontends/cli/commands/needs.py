"""Show what waits for a person, the oldest first."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from reconciler.api import inbox
from reconciler.frontends.cli import flags, output, render_needs, selection, terminal, watching

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Each has an id, by which it is answered: opencode-manager answer NAME ID once",
        "needs",
        "needs -f",
        "needs -o json",
    )
    flags.projects(parser, default="all")
    flags.output(parser, watch=False)
    parser.add_argument("-f", "--follow", action="store_true", help="go on, and print each new one")


def run(settings: Settings, options: Namespace) -> int:
    """Print what waits, and with `--follow` what comes and goes."""
    names = selection.existing(settings, options, "show what waits in") if options.names or options.labels else None
    shown = inbox.waiting(settings, names)
    _show(shown, options)
    if not options.follow:
        return 0
    known = {(need["project"], need["id"]) for need in shown}
    for _ in watching.ticks(settings.home.root):
        found = inbox.waiting(settings, names)
        if new := [need for need in found if (need["project"], need["id"]) not in known]:
            if options.output in output.FOR_PEOPLE:
                print()
            _show(new, options)
        known = {(need["project"], need["id"]) for need in found}
    return 0


def _show(needs: Sequence[Mapping[str, Any]], options: Namespace) -> None:
    if options.output in output.FOR_PEOPLE:
        out = sys.stdout
        print(render_needs.render_needs(needs, time.time(), width=terminal.width(out), paint=terminal.painter(out)))
    else:
        output.show(options.output, needs, key="id")
    sys.stdout.flush()  # into a pipe, nothing would be seen for a long time
