"""Destroy projects after the user at the terminal has confirmed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.api import drafts
from reconciler.frontends.cli import flags, requests, selection
from reconciler.settings import UserError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("Refuses if work would be lost.", "destroy blog-api", "destroy 'try-*' --yes")
    flags.projects(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--discard-unpushed", action="store_true", help="destroy even if work would be lost")
    flags.dry_run(parser)
    flags.wait(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Ask for projects to be destroyed."""
    names = selection.chosen(settings, options, "destroy")
    if not (options.yes or options.dry_run or _asked(names)):
        raise UserError(f"cannot destroy {', '.join(names)}: it was not confirmed; nothing has changed")
    wanted = [drafts.destroy(settings, name, confirm=name, discard_unpushed=options.discard_unpushed) for name in names]
    return requests.carry_out(settings, wanted, "destroy", seconds=options.wait, dry_run=options.dry_run)


def _asked(names: Sequence[str]) -> bool:
    """Ask, and return whether the answer is what must be typed to confirm."""
    which = ", ".join(names)
    if not sys.stdin.isatty():
        raise UserError(f"cannot ask whether to destroy {which} without a terminal: add --yes")
    one = len(names) == 1
    wanted = names[0] if one else str(len(names))
    how = "its name" if one else f"their number, {wanted},"
    return input(f"This moves {which} to the trash. Type {how} to confirm: ").strip() == wanted
