"""Commands that only read: the published status and the services' logs."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

from reconciler.api import engine_access, reader
from reconciler.core.names import valid_name
from reconciler.core.observed import Service
from reconciler.frontends.cli import render, terminal
from reconciler.settings import UserError
from reconciler.state import published
from reconciler.system.changes import changes

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from reconciler.settings import Settings


def list(settings: Settings, options: Namespace) -> int:  # noqa: A001  the name of the command
    """Print all projects."""
    return _show(settings, None, options.output)


def status(settings: Settings, options: Namespace) -> int:
    """Print all projects, or one in full; again at each change when watching."""
    shown = published.read(settings.home).written
    code = _show(settings, options.name, options.output)
    if not options.watch:
        return code
    sys.stdout.flush()  # into a pipe, nothing would be seen for a long time
    there = next(folder for folder in (settings.home.root, *settings.home.root.parents) if folder.is_dir())
    for _ in changes(there):  # a home that is not there yet is polled every `LOOK_AGAIN`
        written = published.read(settings.home).written
        if written != shown:
            shown = written
            sys.stdout.write("\033[H\033[2J" if sys.stdout.isatty() else "\n")
            code = _show(settings, options.name, options.output)
            sys.stdout.flush()
    return code


def _show(settings: Settings, name: str | None, output: str) -> int:
    """Print the status; return 0 when everything shown is as desired, else 2."""
    index = published.read(settings.home)
    for warning in reader.warnings(index):
        print(render.note(warning, terminal.width(sys.stderr)), file=sys.stderr)
    shown = (
        [index.projects[each] for each in sorted(index.projects)]
        if name is None
        else [reader.raw_status(settings, name)]
    )
    if output == "json":
        print(json.dumps(shown if name is None else shown[0], indent=2))
    elif output == "yaml":
        print(
            importlib.import_module("reconciler.specs.yaml_writer").dump(
                [dict(each) for each in shown] if name is None else dict(shown[0])
            ),
            end="",
        )
    elif name is None:
        print(render.render_table(shown, width=terminal.width(sys.stdout), paint=terminal.painter(sys.stdout)))
    else:
        width, paint = terminal.width(sys.stdout), terminal.painter(sys.stdout)
        print(render.render_status(shown[0], width=width, paint=paint))
    return 0 if all(_as_wanted(each) for each in shown) else 2


def _as_wanted(project: Mapping[str, Any]) -> bool:
    return bool(project["ready"]["status"])


def logs(settings: Settings, options: Namespace) -> int:
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
