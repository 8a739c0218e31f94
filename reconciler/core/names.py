"""Validate project names, and phrase what is wrong with others. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
LONGEST: Final = 63
"""Letters: of a host name's label, and of most names in a cluster."""
EXAMPLE: Final = "my-app"
RULE: Final = "names are 1 to 63 of a-z, 0-9 and inner hyphens"

_NAME: Final = re.compile(NAME_PATTERN)
_SHOWABLE: Final = re.compile(r"[\w./ -]{1,80}")
"""What may be repeated in a message. Anything else may be a url with a password, or break a terminal."""


def valid_name(name: str) -> bool:
    """Tell whether this is a valid project name: 1-63 of a-z, 0-9 and inner hyphens."""
    return _NAME.fullmatch(name) is not None


def nearest_name(text: str) -> str:
    """Return the valid name nearest to a text; the text itself where it is one, `EXAMPLE` where nothing is left."""
    return _nearest(text) or EXAMPLE


def _nearest(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9-]+", "-", letters).strip("-")[:LONGEST].rstrip("-")


def refused_name(name: str) -> str:
    """Return the sentence about a text that is no project name.

    Args:
        name: the text.
    """
    shown = _SHOWABLE.fullmatch(name) is not None
    what = f"'{name}'" if shown or not name else "this"
    better = _nearest(name) if shown else ""
    return f"cannot use {what} as a project name: {RULE}; use {better or f'one like {EXAMPLE}'}"
