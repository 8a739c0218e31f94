"""Show what the agent of a project is given."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from reconciler.api import engine_access, reader
from reconciler.core.names import valid_name
from reconciler.core.plain_text import plain
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings

FORMATS: Final = ("table", "json")
HIDDEN: Final = "(hidden)"
WIDEST: Final = 60
"""Characters of a column but the last, unless there is no shorter way to say it."""


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Its variables without the values of secrets, its files, where each comes from, and what is left out and why.",
        "env blog-api",
        "env blog-api -o json",
    )
    parser.add_argument("name", metavar="NAME", help="the project")
    parser.add_argument(
        "-o",
        "--output",
        choices=["table", "json"],
        default="table",
        metavar="FORMAT",
        help="table (the default) or json",
    )


def run(settings: Settings, options: Namespace) -> int:
    """Print what the agent of a project is given, and what is left out and why."""
    check_name(settings, options.name, "show the world of")
    found = engine_access.given(settings, options.name)
    if options.output == "json":
        print(json.dumps(asdict(found), indent=2))
        return 0
    home = settings.environment.get("HOME") or "/"
    _table("variables", ((one.name, one.origin, HIDDEN if one.secret else one.value) for one in found.variables), home)
    _table("files", ((one.source, one.how, "" if one.place == one.source else one.place) for one in found.files), home)
    _table("left out", found.left_out, home)
    return 0


def check_name(settings: Settings, name: str, what: str) -> None:
    """Raise UserError for what is no project's name."""
    if not valid_name(name) or not engine_access.holds(settings, name):
        raise UserError(reader.unknown(published.read(settings.home), settings, name, what))


def _table(title: str, rows: Iterable[Sequence[str]], home: str) -> None:
    shown = [[_short(cell, home) for cell in row] for row in rows]
    if not shown:
        return
    print(f"{title}:")
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*shown, strict=True)][:-1]
    for row in shown:
        padded = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        print("  " + "  ".join([*padded, row[-1]]).rstrip())


def _short(text: str, home: str) -> str:
    """Return one line of it, the user's home as people write it."""
    return plain(re.sub(rf"(?<![^\s:]){re.escape(home.rstrip('/'))}/", "~/", text), 1000)
