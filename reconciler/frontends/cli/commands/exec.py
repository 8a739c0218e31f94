"""Run a command as the agent of a project would."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from reconciler.api import engine_access
from reconciler.core.plain_text import plain
from reconciler.frontends.cli.commands.env import check_name
from reconciler.settings import UserError

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "With the agent's variables, in its clone; the exit code is that of the command.",
        "exec blog-api -- git status",
        "exec blog-api -- bash",
    )
    parser.add_argument("name", metavar="NAME", help="the project")
    parser.add_argument("argv", nargs="...", metavar="-- COMMAND ...", help="the command with its arguments")


def run(settings: Settings, options: Namespace) -> NoReturn:
    """Become the command, in the world of the project's agent."""
    check_name(settings, options.name, "run anything in")
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise UserError(f"cannot run nothing: say what, as in: opencode-manager exec {options.name} -- git status")
    command = engine_access.command(settings, options.name, argv)
    sys.stdout.flush()
    os.chdir(command.cwd)
    try:
        os.execvpe(command.argv[0], command.argv, dict(command.env))  # noqa: S606  what was asked for, without a shell
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"cannot run {plain(argv[0])} in {options.name}: there is no such program") from None
