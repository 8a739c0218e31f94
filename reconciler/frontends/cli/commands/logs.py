"""Show what a service printed."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from reconciler.api import engine_access, reader
from reconciler.core.names import valid_name
from reconciler.core.observed import Service
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("", "logs blog-api -f", "logs blog-api bridge -n 20")
    parser.add_argument("name", metavar="NAME", help="the project")
    service = parser.add_argument("service", nargs="?", choices=["agent", "bridge"], default="agent", metavar="SERVICE")
    service.help = "agent (the default) or bridge"
    parser.add_argument("-f", "--follow", action="store_true", help="follow: print what is appended")
    parser.add_argument("-n", "--lines", type=int, default=100, metavar="N", help="default: %(default)s")


def run(settings: Settings, options: Namespace) -> int:
    """Print the end of a log, and with -f what is appended to it."""
    if not valid_name(options.name):
        index = published.read(settings.home)
        raise UserError(reader.unknown(index, settings, options.name, "show the log of"))
    pieces = engine_access.logs(
        settings, options.name, Service(options.service), lines=options.lines, follow=options.follow
    )
    with contextlib.closing(pieces):
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
    return 0
