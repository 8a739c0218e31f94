"""Start projects."""

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
    parser.explain(
        "Writes the spec and waits until the project is running.",
        "start blog-api git@github.com:user/blog-api.git",
        "start 'blog-*'",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the project, or a pattern like 'blog-*'")
    parser.add_argument("git_url", nargs="?", metavar="GIT_URL", help="needed the first time")
    parser.add_argument("--ssh-key", metavar="PATH", help="your own private key instead of a generated deploy key")
    flags.choice(parser)
    parser.check(lambda options: "" if options.name or options.all or options.labels else flags.NOTHING_CHOSEN)
    flags.dry_run(parser)
    flags.wait(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Ask for projects to run."""
    options.names = [options.name] if options.name else []
    names = selection.chosen(settings, options, "start")
    wanted = [drafts.start(settings, name, options.git_url, options.ssh_key) for name in names]
    return requests.carry_out(settings, wanted, "start", seconds=options.wait, dry_run=options.dry_run)
