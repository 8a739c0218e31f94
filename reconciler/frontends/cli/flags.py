"""The options that commands have in common, so that each means the same everywhere."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from reconciler.frontends.cli.grammar import Parser

FORMATS: Final = ("table", "wide", "json", "jsonl", "yaml", "name")
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
NOTHING_CHOSEN: Final = "give the name of a project, --all or -l LABEL"
WAIT: Final = 180.0
"""Seconds that a command waits by default."""


def projects(parser: Parser, default: str = "", *, more: str = "") -> None:
    """Accept names of projects, patterns of them, `--all`, and labels.

    Args:
        parser: of the command.
        default: what is chosen without any of these, for the help; empty: that is an error.
        more: what other words may stand there, for the help.
    """
    text = "projects, or patterns like 'blog-*'" + (f" (default: {default})" if default else more)
    parser.add_argument("names", nargs="*", metavar="NAME", help=text)
    choice(parser)
    if not default:
        parser.check(lambda options: "" if is_chosen(options) else NOTHING_CHOSEN)


def is_chosen(options: argparse.Namespace) -> bool:
    """Tell whether projects were chosen in some way."""
    return bool(options.names or options.all or options.labels)


def choice(parser: Parser) -> None:
    """Accept `--all` and labels."""
    parser.add_argument("--all", action="store_true", help="all projects")
    parser.add_argument(
        "-l",
        "--label",
        dest="labels",
        action="append",
        default=[],
        metavar="KEY[=VALUE]",
        help="only projects with this label; may be repeated, also KEY!=VALUE",
    )


def output(parser: Parser, *, watch: bool = True) -> None:
    """Accept a format, and whether to watch."""
    parser.add_argument(
        "-o",
        "--output",
        choices=FORMATS,
        default="table",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]} (default: table)",
    )
    parser.add_argument("--no-headers", action="store_true", help="no line of column titles")
    if watch:
        parser.add_argument("-w", "--watch", action="store_true", help="show it again whenever it changes")


def dry_run(parser: Parser) -> None:
    """Accept that nothing is to be written."""
    parser.add_argument("--dry-run", action="store_true", help="write nothing; print what would change")


def wait(parser: Parser) -> None:
    """Accept how long to wait."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=WAIT,
        metavar="SECONDS",
        help="wait at most so long (default: %(default).0f)",
    )


def duration(text: str) -> float:
    """Parse a time with or without units: `90`, `90s`, `1h30m`; in seconds."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return seconds(text)
    return sum(float(part or 0) * size for part, size in zip(found.groups(), (86400, 3600, 60, 1), strict=True))


def seconds(text: str) -> float:
    """Parse how long to wait."""
    with contextlib.suppress(ValueError):
        if not math.isnan(value := float(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
