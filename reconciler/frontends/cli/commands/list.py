"""List projects, desired and actual side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.frontends.cli import flags, overview

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("", "list", "list -l team=web -o wide", "list 'blog-*' -o name")
    flags.projects(parser, default="all")
    flags.output(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Print a line for each project."""
    return overview.run(settings, options, in_full=False)
