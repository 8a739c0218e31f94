"""Say which client calls, for the history. It is what clients say of themselves, so nothing is allowed by it.

Clients of the newer protocol name themselves in each request. The others do it once, in `initialize`, and this server
keeps no session of them: they are known again by their connection, or by their User-Agent while only one name is
known for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from reconciler.core import plain_text
from reconciler.core.history import Author, Via

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver import Context

NAMELESS: Final = "a client without a name"
_MOST: Final = 1000
"""Connections and User-Agents remembered."""
_ROOM: Final = 80


class Callers:
    """The clients that have introduced themselves to this process."""

    def __init__(self) -> None:
        self._by_peer: dict[tuple[str, int], str] = {}
        self._by_agent: dict[str, set[str]] = {}

    async def listen(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Remember the name in each `initialize` (a middleware)."""
        info = (ctx.params or {}).get("clientInfo")
        if ctx.method == "initialize" and ctx.request is not None and isinstance(info, dict):
            self._remember(ctx.request, plain_text.plain(info.get("name") or "", _ROOM))
        return await call_next(ctx)

    def author(self, ctx: Context[Any, Any], tool: str) -> Author:
        """Return who calls a tool."""
        return Author(Via.MCP, self._name(ctx) or NAMELESS, tool)

    def _remember(self, request: Any, name: str) -> None:  # noqa: ANN401  the HTTP library's
        if request.client is not None:
            self._by_peer[request.client.host, request.client.port] = name
        self._by_agent.setdefault(_agent(request), set()).add(name)
        _forget_first(self._by_peer)
        _forget_first(self._by_agent)

    def _name(self, ctx: Context[Any, Any]) -> str:
        if (params := ctx.session.client_params) is not None:
            return plain_text.plain(params.client_info.name, _ROOM)
        request = ctx.request_context.request
        if request is None:
            return ""
        peer = (request.client.host, request.client.port) if request.client is not None else None
        if peer in self._by_peer:
            return self._by_peer[peer]
        agent = _agent(request)
        names = self._by_agent.get(agent, set())
        return next(iter(names)) if len(names) == 1 else agent


def _forget_first(known: dict[Any, Any]) -> None:
    if len(known) > _MOST:
        del known[next(iter(known))]


def _agent(request: Any) -> str:  # noqa: ANN401  the HTTP library's
    """Return the first word of the User-Agent: `node`, `claude-code/2.1`."""
    return plain_text.plain((request.headers.get("user-agent") or "").partition(" ")[0], _ROOM)
