"""The HTTP server of a bridge.

Belongs here: uvicorn's settings, and an end that comes within seconds whatever is open.
Does not belong here: what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING

import uvicorn

from reconciler.bridge.guard import Guard
from reconciler.bridge.loader import Loader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import FrameType

    from reconciler.bridge.config import Config
    from reconciler.bridge.guard import App


class Server(uvicorn.Server):
    """Says that the end has come before it waits for open requests, so that those that wait can answer."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()

    async def main_loop(self) -> None:
        """Wait for the end: uvicorn's own loop wakes ten times a second to write a date."""
        await self._stopping.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """TERM or INT. Always calls on: the SSE library hooks itself in there to end its streams."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        super().handle_exit(sig, frame)


async def serve(config: Config) -> None:
    """Serve until TERM; uvicorn then raises the signal again, so this does not return."""
    stopping = asyncio.Event()

    @contextlib.asynccontextmanager
    async def bring() -> AsyncIterator[App]:
        server = await asyncio.to_thread(importlib.import_module, "reconciler.bridge.server")
        async with server.running(config, stopping) as app:
            yield app

    loader = Loader(bring)
    guard = Guard(config, loader, lambda: loader.loaded)
    settings = uvicorn.Config(
        guard,
        host="127.0.0.1",
        port=config.port,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(loader.run())
        try:
            await Server(settings, stopping).serve()
        finally:
            loader.close()
