"""Set a project's secrets at a terminal. They are never printed."""

from __future__ import annotations

import getpass
import secrets as randomness
import sys
from typing import TYPE_CHECKING

from reconciler.api import engine_access, reader
from reconciler.core.names import valid_name
from reconciler.settings import UserError
from reconciler.specs import spec_folder
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("They are never printed.", "secrets blog-api", "secrets blog-api --generate")
    parser.add_argument("name", metavar="NAME", help="the project")
    parser.add_argument("--generate", action="store_true", help="generate random ones without asking")
    parser.add_argument("--rotate", action="store_true", help="also replace valid ones")


def run(settings: Settings, options: Namespace) -> int:
    """Ask for each secret that is missing or invalid, or generate it; valid ones stay unless all are to be replaced."""
    name = options.name
    if not valid_name(name):
        raise UserError(reader.unknown(published.read(settings.home), settings, name, "set the secrets of"))
    folder = reader.specs_folder(published.read(settings.home), settings)
    if not spec_folder.spec_path(folder, name).is_file() and not engine_access.holds(settings, name):
        raise UserError(f"cannot set the secrets of {name}: there is no such project; start it first")
    if not options.generate and not sys.stdin.isatty():
        raise UserError("cannot ask for secrets without a terminal: run it in one, or use --generate")
    found = engine_access.secrets(settings, name)
    wanted = found.keys if options.rotate else found.bad
    values = {key: "" if options.generate else getpass.getpass(f"{key} (empty: generate one): ") for key in wanted}
    made = {key: value or randomness.token_urlsafe(32) for key, value in values.items()}
    engine_access.set_secrets(settings, name, made)
    found = engine_access.secrets(settings, name)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    news = "the controller takes them up by itself" if made else "valid ones were kept; --rotate replaces them"
    print(f"The secrets of {name} are in {found.place}; {news}.")
    return 1 if found.problems else 0
