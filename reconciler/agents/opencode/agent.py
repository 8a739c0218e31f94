"""What a tool of OpenCode works on: one project's server and its clone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.agents.opencode.kind import OPENCODE

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from reconciler.agents.opencode.api import OpenCode


@dataclass(frozen=True, kw_only=True)
class OpenCodeAgent:
    """One project's agent."""

    project: str
    opencode: OpenCode
    repo: Path
    stopping: asyncio.Event
    """Set when the program ends: a call that waits then answers with what it has."""
    secrets: tuple[str, ...] = field(repr=False)
    """What no result may contain."""

    @property
    def kind(self) -> str:
        """Name of the kind."""
        return OPENCODE.name

    async def close(self) -> None:
        """Let go of the connections."""
        await self.opencode.close()
