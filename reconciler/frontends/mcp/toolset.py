"""The tools of all kinds of agents at the one address: what a call does is decided by the kind of the agent it reaches.

A tool that several kinds have is offered once, with the parameters of the first.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler import agents
from reconciler.core import kinds
from reconciler.mcpkit.failure import ToolFailureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_types import CallToolResult

    from reconciler.agents.base import Client
    from reconciler.mcpkit.binding import Tool


def every() -> list[Tool]:
    """Return the tools of every registered kind."""
    found: dict[str, dict[str, Tool]] = {}
    for kind, (package, _) in kinds.DRIVERS.items():
        for tool in agents.toolset(agents.access_to(package)).TOOLS:
            found.setdefault(tool.name, {})[kind] = tool
    return [_by_kind(tools) for tools in found.values()]


def _by_kind(tools: Mapping[str, Tool]) -> Tool:
    """Return one tool that works with agents of these kinds, and says so to the others."""
    first = next(iter(tools.values()))
    if tools.keys() == kinds.DRIVERS.keys() and len(tools) == 1:
        return first

    @functools.wraps(first.function)
    async def call(client: Client, *args: Any, **options: Any) -> CallToolResult:  # noqa: ANN401  any tool's
        if (tool := tools.get(client.kind)) is None:
            raise ToolFailureError(f"cannot use {first.name} with this project: its agent is of kind {client.kind}")
        return await tool.function(client, *args, **options)

    return replace(first, function=call)
