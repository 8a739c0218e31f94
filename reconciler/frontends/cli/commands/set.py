"""Set values in specs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.api import client, drafts
from reconciler.frontends.cli import flags, requests, selection

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Comments, order and format of the rest of the file stay. What it says is valid, or nothing is written.",
        "set blog-api agent.version=1.18.33",
        "set -l team=web idle_timeout=2h --dry-run",
    )
    flags.projects(parser, more="; and KEY=VALUE, as often as you like")
    parser.add_argument(
        "--wait",
        type=flags.seconds,
        metavar="SECONDS",
        help="wait at most so long until the controller has acted (default: do not wait)",
    )
    flags.dry_run(parser)
    parser.check(_missing)


def _missing(options: Namespace) -> str:
    assignments = [word for word in options.names if "=" in word]
    if not assignments:
        return "give at least one KEY=VALUE"
    chosen = len(options.names) > len(assignments) or options.all or options.labels
    return "" if chosen else flags.NOTHING_CHOSEN


def run(settings: Settings, options: Namespace) -> int:
    """Write the values; words with an equals sign are assignments, all others choose projects."""
    assignments = [word for word in options.names if "=" in word]
    options.names = [word for word in options.names if "=" not in word]
    wanted = [
        drafts.assigned(settings, name, assignments) for name in selection.chosen(settings, options, "set values of")
    ]
    if options.wait is not None or options.dry_run:
        return requests.carry_out(settings, wanted, "set", seconds=options.wait or 0.0, dry_run=options.dry_run)
    requests.preview(wanted)
    for draft in wanted:
        client.write(settings, draft, requests.author("set"))
    return 0
