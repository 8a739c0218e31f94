"""Parse a command line: up to the command by the table, and what follows by the module of that command."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler import __version__
from reconciler.frontends.cli import catalogue, grammar
from reconciler.frontends.cli.grammar import Parser, Top

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from reconciler.frontends.cli.catalogue import Command

PROGRAM: Final = "opencode-manager"
SUMMARY: Final = "Keep an OpenCode coding agent ready in each of your projects."
CODES: Final = """\
exit codes:
  0    success
  1    error, explained in one sentence
  2    pending: changes planned, in progress, or waiting for you
  64   usage error
  130  interrupted
"""


def parse(arguments: Sequence[str] | None = None) -> tuple[Command, argparse.Namespace]:
    """Return the command of a command line, and its options. Exits where there is a usage error, or help was asked for.

    Args:
        arguments: None means those of this process.
    """
    top = _top()
    given = top.parse_args(arguments)
    rest = list(given.rest)
    if given.command == catalogue.HELP.name:
        given = top.parse_args([*(rest or ["--help"])[:1], "--help"])
        rest = ["--help"]
    command = catalogue.BY_NAME[given.command]
    if command.stays:
        # Before anything big is loaded: the first process of a container stays, and does nothing else.
        code: int | None = importlib.import_module("reconciler.system.orphans").reap_for_child()
        if code is not None:
            raise SystemExit(code)
    return command, parser_of(command).parse_args(rest, argparse.Namespace(specs=given.specs))


def _top() -> Top:
    top = Top(
        catalogue.COMMANDS,
        prog=PROGRAM,
        description=SUMMARY,
        epilog=CODES,
    )
    add_specs(top, help="the specs folder (default: ./specs where there is one)")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}", help="print the version")
    names = [*catalogue.BY_NAME, catalogue.HELP.name]
    top.add_argument(grammar.COMMAND, metavar="COMMAND", choices=names)
    top.add_argument("rest", nargs=argparse.REMAINDER)
    return top


def add_specs(parser: Parser, **options: Any) -> None:  # noqa: ANN401  argparse's own
    """Accept the option that names the specs folder."""
    parser.add_argument("--specs", type=Path, metavar="DIR", **options)


def parser_of(command: Command) -> Parser:
    """Return the parser of what follows a command."""
    parser = Parser(
        prog=f"{PROGRAM} {command.name}", description=f"{command.summary[:1].upper()}{command.summary[1:]}."
    )
    add_specs(parser, default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # there too, for those who forgot
    load(command).arguments(parser)
    return parser


def load(command: Command) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(f"reconciler.frontends.cli.commands.{command.place}")
