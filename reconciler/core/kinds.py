"""The registry of agent kinds: adding a kind is a package in `agents/` and a line here.

The registry stands below the specs, which refuse an unknown kind; `agents.driver` loads what a line names.
"""

from __future__ import annotations

import re
from typing import Final

DEFAULT: Final = "opencode"
DRIVERS: Final = {"opencode": "reconciler.agents.opencode"}
"""The package of each kind; see `agents`."""


def check_kind(kind: str) -> str:
    """Return the name of a known kind. Raises ValueError, with the known ones listed."""
    if re.fullmatch(r"[a-z][a-z0-9-]{0,30}", kind) is None or kind not in DRIVERS:
        raise ValueError(f"cannot accept 'agent.kind': use {' or '.join(map(repr, sorted(DRIVERS)))}")
    return kind
