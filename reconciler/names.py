"""What may name a project."""

from __future__ import annotations

import re
from typing import Final

NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(NAME_PATTERN)


def valid_name(name: str) -> bool:
    """Whether this may name a project: 1-63 of a-z, 0-9 and inner hyphens."""
    return _NAME.fullmatch(name) is not None
