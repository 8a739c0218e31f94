"""The tool and the resource that show history to a chat."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent
from pydantic import Field

from reconciler.api import history
from reconciler.frontends.cli.render_events import render_events
from reconciler.frontends.mcp.wire import schema, without_empty
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reconciler.settings import Settings

MOST: Final = 500

Line: Final = schema(history.EventLine, "index", "time", "type", "reason", "author")
Lines: Final = schema(history.EventListing, "events", "index", items=Line, message=(str, None))
Names = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    Field(description="Names of projects, or patterns like blog-*; default: all"),
]
Since = Annotated[str, Field(description="A duration like 90s, 30m, 1h or 2d, or a time; default: whenever")]
Limit = Annotated[int, Field(ge=1, le=MOST, description="At most so many, the newest")]


def tool(settings: Settings) -> Callable[..., Awaitable[CallToolResult]]:
    """Return the function of the tool for one home."""

    async def events(
        names: Names = [],  # noqa: B006  never changed; null would be another type on the wire
        since: Since = "",
        limit: Limit = history.LIMIT,
    ) -> Annotated[CallToolResult, Lines]:
        """Events of projects: what happened, why, and by whom, the newest last.

        Specs that changed, actions, processes that ended, conditions.
        """
        try:
            which = history.wanted(names, since)
        except UserError as error:
            raise ToolError(str(error)) from None
        found, records = await asyncio.to_thread(history.answer, settings, which, limit)
        message = "" if records else "there are no such events"
        text = render_events(records) if records else message
        return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=_fields(found, message))

    return events


async def fields(settings: Settings) -> dict[str, Any]:
    """Return the newest events as an object."""
    found, _ = await asyncio.to_thread(history.answer, settings, history.wanted(), history.LIMIT)
    return _fields(found, "")


def _fields(found: history.EventListing, message: str) -> dict[str, Any]:
    plain = without_empty(asdict(found) | {"message": message})
    return plain | {"events": [without_empty(one) for one in plain.get("events", [])]}
