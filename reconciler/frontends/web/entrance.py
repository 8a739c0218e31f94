"""What the HTTP server knows of the web before any browser came: which requests are for it, and what to load then.

The proxy, an HTTP client and a WebSocket library cost a second and some 10 MB: the first request loads them.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from reconciler.frontends.web import hosts
from reconciler.mcpkit.http_guard import header

if TYPE_CHECKING:
    from reconciler.mcpkit.http_guard import App, Receive, Scope, Send
    from reconciler.settings import Settings


class Entrance:
    """An ASGI app for the host names of projects; what it passes ends when `stop` is set."""

    def __init__(self, settings: Settings, stop: asyncio.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._app: App | None = None

    def takes(self, scope: Scope) -> bool:
        """Tell whether a request is for a project's host name."""
        return hosts.project(header(scope, b"host") or "") is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on; load what serves it, in a thread, where that is not done yet."""
        if self._app is None:
            proxy = await asyncio.to_thread(importlib.import_module, "reconciler.frontends.web.proxy.app")
            self._app = proxy.make(self._settings, self._stop)
        await self._app(scope, receive, send)


def web_socket(**options: Any) -> asyncio.Protocol:  # noqa: ANN401  uvicorn's own
    """Return uvicorn's side of a WebSocket: it names a class, which would load the library with the controller."""
    library = importlib.import_module("uvicorn.protocols.websockets.websockets_sansio_impl")
    made: asyncio.Protocol = library.WebSocketsSansIOProtocol(**options)
    return made
