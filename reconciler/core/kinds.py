"""The registry of agent kinds: adding a kind is a package in `agents/` and a line here.

The registry stands below the specs, which refuse an unknown kind; `agents.driver` loads what a line names.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

DEFAULT: Final = "opencode"


class Kind(NamedTuple):
    """One kind of agent, as much of it as the spec needs."""

    package: str
    """See `agents`."""
    reserved: str = ""
    """Pattern of the variables that its driver sets, so that a spec may not."""


DRIVERS: Final = {
    "opencode": Kind("reconciler.agents.opencode", r"OPENCODE_(SERVER_.*|CONFIG_CONTENT|DB|DISABLE_AUTOUPDATE)"),
}


def check_kind(kind: str) -> str:
    """Return the name of a known kind. Raises ValueError, with the known ones listed."""
    if re.fullmatch(r"[a-z][a-z0-9-]{0,30}", kind) is None or kind not in DRIVERS:
        raise ValueError(f"cannot accept 'agent.kind': use {' or '.join(map(repr, sorted(DRIVERS)))}")
    return kind
