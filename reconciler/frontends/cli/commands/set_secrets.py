"""Set a project's secrets at a terminal. They are never printed."""

from __future__ import annotations

import getpass
import secrets as randomness
import sys
from typing import TYPE_CHECKING

from reconciler.api import engine_access, reader
from reconciler.core.names import valid_name
from reconciler.frontends.cli import flags
from reconciler.settings import UserError
from reconciler.specs import spec_folder
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "They are never printed. Without KEY: the agent's password and the token of its bridge. With KEY: a variable "
        "that only the agent gets, such as the key of a model provider; the agent is then restarted.",
        "secrets blog-api",
        "secrets blog-api --generate",
        "secrets blog-api GITHUB_TOKEN",
        "secrets --all ANTHROPIC_API_KEY",
    )
    parser.add_argument("names", nargs="*", metavar="NAME [KEY]", help="the project, and what to set")
    parser.add_argument("--all", action="store_true", help="for the agents of all projects: give keys only")
    parser.add_argument("--generate", action="store_true", help="generate random ones without asking")
    parser.add_argument("--rotate", action="store_true", help="also replace valid ones")
    flags.dry_run(parser)


def run(settings: Settings, options: Namespace) -> int:
    """Ask for secrets: those that are named, else each that is missing or invalid."""
    name, *keys = [None, *options.names] if options.all else options.names or [None]
    if not (keys if options.all else options.names):
        raise UserError("cannot tell which secrets are meant: give NAME, NAME KEY or --all KEY; see: secrets --help")
    if name is not None:
        _check(settings, name)
    if options.dry_run:
        print(_planned(settings, name, keys, rotate=options.rotate))
        return 0
    return _set_keys(settings, name, keys) if keys else _complete(settings, name or "", options)


def _planned(settings: Settings, name: str | None, keys: list[str], *, rotate: bool) -> str:
    """Say which secrets would be set, and whose; never a value."""
    if not keys and name is not None:
        found = engine_access.secrets(settings, name)
        keys = [*(found.keys if rotate else found.bad)]
    whose = "all agents" if name is None else name
    return f"would set {', '.join(keys)} of {whose}" if keys else f"would set nothing of {whose}: valid ones are kept"


def _check(settings: Settings, name: str) -> None:
    if not valid_name(name):
        raise UserError(reader.unknown(published.read(settings.home), settings, name, "set the secrets of"))
    folder = reader.specs_folder(published.read(settings.home), settings)
    if not spec_folder.spec_path(folder, name).is_file() and not engine_access.holds(settings, name):
        raise UserError(f"cannot set the secrets of {name}: there is no such project; start it first")


def _set_keys(settings: Settings, name: str | None, keys: list[str]) -> int:
    """Ask for what only agents get."""
    if not sys.stdin.isatty():
        raise UserError("cannot ask for secrets without a terminal: run it in one")
    values = {key: getpass.getpass(f"{key}: ") for key in keys}
    if empty := [key for key, value in values.items() if not value]:
        raise UserError(f"cannot keep an empty {empty[0]}: type it again; nothing was changed")
    place = engine_access.set_secrets(settings, name, values)
    who = "all agents" if name is None else f"the agent of {name}"
    print(f"{', '.join(keys)} of {who}: kept in {place}; the controller restarts what needs it.")
    return 0


def _complete(settings: Settings, name: str, options: Namespace) -> int:
    """Ask for each secret that is missing or invalid, or generate it; valid ones stay unless all are to be replaced."""
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
