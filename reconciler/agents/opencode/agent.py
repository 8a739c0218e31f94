"""What a tool works on: one project's OpenCode server and its clone.

Belongs here: the value that every tool gets as its first argument.
Does not belong here: how it was found; that is the business of whoever registers the tools (`binding`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from reconciler.agents.opencode.api import OpenCode


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One project's agent."""

    project: str
    opencode: OpenCode
    repo: Path
    stopping: asyncio.Event
    """Set when the program ends: whoever waits answers with what it has."""
    secrets: tuple[str, ...] = field(repr=False)
    """What no result may contain."""
