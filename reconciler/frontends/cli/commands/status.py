"""Show all projects, or some in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.frontends.cli import flags, overview

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("Exit code 0: as desired, 2: not yet.", "status", "status blog-api", "status -w")
    flags.projects(parser, default="all")
    flags.output(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Print a table of all projects, or everything about those that were named."""
    return overview.run(settings, options, in_full=bool(options.names))
