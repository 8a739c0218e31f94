"""Stop projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.api import drafts
from reconciler.frontends.cli import flags, requests, selection

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("Waits until none of their processes is running.", "stop blog-api", "stop -l team=web")
    flags.projects(parser)
    flags.dry_run(parser)
    flags.wait(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Ask for projects to stop."""
    wanted = [drafts.stop(settings, name) for name in selection.chosen(settings, options, "stop")]
    return requests.carry_out(settings, wanted, "stop", seconds=options.wait, dry_run=options.dry_run)
