"""Run the controller.

Slow work begins before the controller's libraries are loaded, which takes a quarter of a second: meanwhile the spec
files settle, and the engine prepares itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from reconciler.api import engine_access
from reconciler.specs import scan

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("Ctrl-C ends it; the agents keep running.", "run", "run --once")
    parser.add_argument("--standby", action="store_true", help="wait for a running controller to end, then take over")
    parser.add_argument(
        "--once",
        action="store_true",
        help="exit when every project was reconciled once; exit code 0 if all are ready, else 2",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing; the log is in opencode-controller/")


def run(settings: Settings, options: Namespace) -> int:
    """Run until interrupted."""
    first = scan.first_look(settings.specs)
    if not options.standby:
        engine_access.prepare()
    controller = importlib.import_module("reconciler.app")
    code: int = controller.run(settings, standby=options.standby, once=options.once, quiet=options.quiet, first=first)
    return code
