"""Restart projects."""

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
    parser.explain("Waits until both services are ready again.", "restart blog-api", "restart -l team=web")
    flags.projects(parser)
    flags.dry_run(parser)
    flags.wait(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Ask for projects to be restarted."""
    wanted = [drafts.restart(settings, name) for name in selection.chosen(settings, options, "restart")]
    return requests.carry_out(settings, wanted, "restart", seconds=options.wait, dry_run=options.dry_run)
