"""What is on the other side of our output: how wide it is, and whether it shows colours.

Belongs here: the conventions of terminals. Does not belong here: what is printed.

Colours, by the first rule that applies: NO_COLOR (https://no-color.org) none; FORCE_COLOR or CLICOLOR_FORCE some;
CLICOLOR=0 or TERM=dumb none; else on a terminal alone.
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
    """Whether a person sees it."""
    try:
        return out.isatty()
    except ValueError:  # closed
        return False


def width(out: TextIO) -> int | None:
    """Columns of the terminal; None where there is none: what a program reads is never cut."""
    if not is_terminal(out):
        return None
    try:
        columns = os.get_terminal_size(out.fileno()).columns
    except OSError:
        columns = 0
    return max(columns or 80, NARROWEST)


def redraws(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a line can be written over."""
    return is_terminal(out) and environment.get("TERM", "dumb") != "dumb"


def colours(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to use colours."""
    if environment.get("NO_COLOR"):
        return False
    if any(environment.get(name, "0") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environment.get("CLICOLOR") == "0" or environment.get("FORCE_COLOR") == "0":
        return False
    return environment.get("TERM") != "dumb" and is_terminal(out)


def plain(text: str, _style: str) -> str:
    """Without colours."""
    return text


def painted(text: str, style: str) -> str:
    """With them; blanks at the end stay without."""
    return f"\033[{_STYLES[style]}m{text.rstrip()}\033[0m{' ' * (len(text) - len(text.rstrip()))}" if text else text


def painter(out: TextIO) -> Paint:
    """How to paint what is printed there."""
    return painted if colours(out, os.environ) else plain
