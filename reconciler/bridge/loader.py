"""The MCP app, brought in by the first request that needs it.

Belongs here: the one late import of this package, and the life of the app's session manager.
Does not belong here: building the app (`server`).

Why late: the MCP library costs 0.5 s and 40 MB a process, and most bridges of a machine with many projects are not
used most of the time. It is loaded in a thread, so `/health` answers meanwhile.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.bridge.config import Config
    from reconciler.bridge.guard import App, Receive, Scope, Send


class Loader:
    """An ASGI app that waits for the real one. `run` must be running."""

    def __init__(self, config: Config, stopping: asyncio.Event) -> None:
        self._config = config
        self._stopping = stopping
        self._wanted = asyncio.Event()
        self._closed = asyncio.Event()
        self._app: asyncio.Future[App] = asyncio.get_running_loop().create_future()

    @property
    def loaded(self) -> bool:
        """Whether the MCP library is in."""
        return self._app.done()

    def close(self) -> None:
        """Let `run` return."""
        self._closed.set()
        self._wanted.set()

    async def run(self) -> None:
        """Load when wanted, then keep the app's session manager open, in this one task, until `close`."""
        await self._wanted.wait()
        if self._closed.is_set():
            return
        server = await asyncio.to_thread(importlib.import_module, "reconciler.bridge.server")
        async with server.running(self._config, self._stopping) as app:
            self._app.set_result(app)
            await self._closed.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        self._wanted.set()
        app = await asyncio.shield(self._app)
        await app(scope, receive, send)
