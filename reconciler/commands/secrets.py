"""Setting a project's secrets, by a person at a terminal. They are never printed."""

from __future__ import annotations

import getpass
import secrets as randomness
import sys
from typing import TYPE_CHECKING

from reconciler import files, specfiles
from reconciler.local import credentials
from reconciler.settings import UserError

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.settings import Settings

_ASKED = ("OPENCODE_SERVER_PASSWORD", "MCP_TOOL_BEARER_TOKEN")


def secrets(settings: Settings, options: Namespace) -> int:
    """Ask for each secret, or make it."""
    name, sandbox = options.name, settings.home.sandbox(options.name)
    if not specfiles.spec_path(settings.specs, name).is_file() and not sandbox.path.is_dir():
        raise UserError(f"cannot set the secrets of {name}: there is no such project; start it first")
    if not options.generate and not sys.stdin.isatty():
        raise UserError("cannot ask for secrets without a terminal: run it in one, or use --generate")
    values = {key: "" if options.generate else getpass.getpass(f"{key} (empty: make one): ") for key in _ASKED}
    made = {key: value or randomness.token_urlsafe(32) for key, value in values.items()}
    files.private_folder(sandbox.path)
    credentials.set_secrets(sandbox.env_file, made)
    problems = credentials.read_env(sandbox.env_file).problems
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"The secrets of {name} are in {sandbox.env_file}; the controller takes them up by itself.")
    return 1 if problems else 0
