"""The HTTP server of a bridge.

What is served is loaded when the first request needs it (`mcpkit.lazy_app`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING

from reconciler.bridge.guard import BridgeGuard
from reconciler.mcpkit.lazy_app import Loader
from reconciler.mcpkit.quiet_server import QuietServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.bridge.config import Config
    from reconciler.mcpkit.http_guard import App


async def serve(config: Config) -> None:
    """Serve until TERM; uvicorn then raises the signal again, so this does not return."""
    stopping = asyncio.Event()

    @contextlib.asynccontextmanager
    async def bring() -> AsyncIterator[App]:
        server = await asyncio.to_thread(importlib.import_module, "reconciler.bridge.server")
        async with server.running(config, stopping) as app:
            yield app

    loader = Loader(bring)
    guard = BridgeGuard(config, loader, lambda: loader.loaded)
    async with asyncio.TaskGroup() as group:
        group.create_task(loader.run())
        try:
            await QuietServer(guard, stopping, port=config.port, signals=True).serve()
        finally:
            loader.close()
