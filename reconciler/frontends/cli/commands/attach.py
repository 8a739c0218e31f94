"""Become an agent's own terminal program."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from reconciler import agents
from reconciler.agents.base import VisitError
from reconciler.api import engine_access
from reconciler.frontends.cli import visiting
from reconciler.settings import UserError

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("", "attach blog-api", "attach blog-api --continue", "attach blog-api -s ses_1a2b3c")
    parser.add_argument("name", metavar="NAME", help="the project")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-s", "--session", metavar="SESSION", help="go on with this session (ses_...)")
    which.add_argument("-c", "--continue", dest="latest", action="store_true", help="go on with the last session")


def run(settings: Settings, options: Namespace) -> int:
    """Execute the program in place of this one; the password is in its environment alone."""
    name = options.name
    found = visiting.running(settings, name, "attach to")
    try:
        terminal = found.access.terminal(visiting.visit(found, options, "attach to"))
    except VisitError as error:
        raise UserError(f"cannot attach to session {options.session!r} of {name}: {error}") from None
    if terminal is None:
        raise UserError(f"cannot attach to {name}: agents of kind {found.kind} have no terminal program of their own")
    program = engine_access.program(settings, name, agents.driver(found.kind).program.programs)
    if not program:
        raise UserError(f"cannot attach to {name}: the program that its agent runs is not there any more; restart it")
    sys.stdout.flush()
    os.execve(program, (program, *terminal.arguments), {**settings.environment, **terminal.environment})  # noqa: S606  never through a shell
