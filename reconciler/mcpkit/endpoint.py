"""What both MCP endpoints have in common once the MCP library is loaded: the controller's, and each bridge's."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import METHOD_NOT_FOUND

from reconciler.mcpkit.exchange import Exchange
from reconciler.mcpkit.http_guard import LOOPBACK, allowed_origins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server import MCPServer
    from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext

    from reconciler.mcpkit.http_guard import App

BODY_LIMIT: Final = 2**20
"""Bytes of one request."""


def without(*kinds: str) -> ServerMiddleware[Any]:
    """Make a middleware that keeps a server from offering these kinds of things, such as `prompts`.

    The library offers them whether there are any or not, and fails on a request for one that is unknown.
    """

    async def offered(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method.partition("/")[0] in kinds:
            raise MCPError(METHOD_NOT_FOUND, "Method not found")
        try:
            result = await call_next(ctx)
        except MCPError as error:
            if error.code == METHOD_NOT_FOUND:  # the library repeats the method's name
                raise MCPError(METHOD_NOT_FOUND, "Method not found") from None
            raise
        if ctx.method in {"initialize", "server/discover"} and isinstance(result, dict):
            shown = {key: value for key, value in result["capabilities"].items() if key not in kinds}
            return result | {"capabilities": shown}
        return result

    return offered


@contextlib.asynccontextmanager
async def serving(mcp: MCPServer[Any], port: int) -> AsyncIterator[App]:
    """Serve an ASGI app within the block.

    Stateless: a client goes on after a restart of this process, and no session can be taken over.

    Args:
        mcp: what is served.
        port: this process listens on.
    """
    app = mcp.streamable_http_app(
        stateless_http=True,
        host="127.0.0.1",
        max_request_body_size=BODY_LIMIT,
        # The guard has checked both already; the library gets the same lists.
        transport_security=TransportSecuritySettings(
            allowed_hosts=[pattern for name in LOOPBACK for pattern in (name, f"{name}:*")],
            allowed_origins=allowed_origins(port),
        ),
    )
    async with mcp.session_manager.run():
        yield Exchange(app, BODY_LIMIT)
