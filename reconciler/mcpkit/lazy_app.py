"""The MCP app, loaded by the first request that needs it.

Why late: the MCP library costs 0.5 s and 40 MB a process, and most endpoints of a machine with many projects are not
used most of the time. It is loaded in a thread, so the open paths answer meanwhile.

A failure of the app ends nothing but the requests that wait for it: they get an error, and the next request loads it
again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from reconciler.mcpkit.http_guard import reply
from reconciler.system.aio import failure, summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from reconciler.mcpkit.http_guard import App, Receive, Scope, Send

INTERNAL_ERROR = -32603
"""JSON-RPC's code. The library that knows it too is what could not be loaded."""

logger = logging.getLogger(__name__)


class Loader:
    """An ASGI app that waits for the real one. `run` must be running.

    Args:
        bring: loads the app and keeps it alive within.
        report: called with what is wrong, and with an empty text once it works.
    """

    def __init__(
        self,
        bring: Callable[[], AbstractAsyncContextManager[App]],
        report: Callable[[str], None] = lambda _problem: None,
    ) -> None:
        self._bring = bring
        self._report = report
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
        """Load when wanted and keep the app until `close`; start over whenever it fails."""
        while True:
            await self._wanted.wait()
            if self._closed.is_set():
                return
            if error := await failure(self._live()):
                self._fail(error)

    async def _live(self) -> None:
        """Live through the app's whole life in one task: its session manager must end in the task that began it."""
        async with self._bring() as app:
            self._app.set_result(app)
            self._report("")
            await self._closed.wait()

    def _fail(self, error: BaseException) -> None:
        problem = f"cannot load what serves MCP: {summary(error)}; the next request tries again"
        logger.warning("MCP is not served", exc_info=error)
        waiting, self._app = self._app, asyncio.get_running_loop().create_future()
        self._wanted.clear()
        if not waiting.done():
            waiting.set_exception(OSError(problem))
            waiting.exception()  # retrieved: it may be that nobody waits any more
        self._report(problem)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        self._wanted.set()
        try:
            app = await asyncio.shield(self._app)
        except OSError as error:
            body = {"jsonrpc": "2.0", "id": None, "error": {"code": INTERNAL_ERROR, "message": str(error)}}
            await reply(send, 503, body, {"retry-after": "1"})
        else:
            await app(scope, receive, send)
