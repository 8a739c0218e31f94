"""Confirm that spec files are missing on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.api import client, reader
from reconciler.frontends.cli import flags, selection
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("Their projects are then stopped.", "confirm-missing", "confirm-missing blog-api")
    flags.projects(parser, default="every project that waits for it")
    flags.dry_run(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Confirm those that are held back, and say which these are."""
    index = published.read(settings.home)
    named = bool(options.names or options.labels or options.all)
    names = selection.chosen(settings, options, "confirm") if named else []
    for name in names:
        if name not in index.projects:
            raise UserError(reader.unknown(index, settings, name, "confirm"))
    chosen = client.confirm_missing(settings, names, dry_run=options.dry_run)
    if chosen:
        print(f"{'would confirm' if options.dry_run else 'confirmed'}: {', '.join(chosen)}")
    if idle := [name for name in names if name not in chosen]:
        print(f"there is nothing to confirm for {', '.join(idle)}: see opencode-manager status")
    elif not chosen:
        print("there is nothing to confirm")
    return 0
