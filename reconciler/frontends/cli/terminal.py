"""Detect the terminal: its width, and whether it shows colours.

Colours, by the first rule that applies: NO_COLOR (https://no-color.org) none; FORCE_COLOR or CLICOLOR_FORCE some;
CLICOLOR=0 or TERM=dumb none; else only on a terminal.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Paint = Callable[[str, str], str]
    """Text and the name of a style; the text as it is printed."""

NARROWEST: Final = 40
"""Columns below which nothing can be laid out: narrower terminals wrap by themselves."""
_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def is_terminal(out: TextIO) -> bool:
    """Tell whether a person sees the output."""
    try:
        return out.isatty()
    except ValueError:  # closed
        return False


def width(out: TextIO) -> int | None:
    """Return the columns of the terminal; None where there is none: output for programs is never cut."""
    if not is_terminal(out):
        return None
    try:
        columns = os.get_terminal_size(out.fileno()).columns
    except OSError:
        columns = 0
    return max(columns or 80, NARROWEST)


def redraws(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether a line can be overwritten."""
    return is_terminal(out) and environment.get("TERM", "dumb") != "dumb"


def colours(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether to use colours."""
    if environment.get("NO_COLOR"):
        return False
    if any(environment.get(name, "0") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environment.get("CLICOLOR") == "0" or environment.get("FORCE_COLOR") == "0":
        return False
    return environment.get("TERM") != "dumb" and is_terminal(out)


def plain(text: str, _style: str) -> str:
    """Return the text without colours."""
    return text


def painted(text: str, style: str) -> str:
    """Return the text in a colour; trailing blanks stay without."""
    return f"\033[{_STYLES[style]}m{text.rstrip()}\033[0m{' ' * (len(text) - len(text.rstrip()))}" if text else text


def painter(out: TextIO) -> Paint:
    """Return the function that colours output to this stream."""
    return painted if colours(out, os.environ) else plain
