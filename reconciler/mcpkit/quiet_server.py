"""uvicorn as a server that costs nothing while nobody asks, and ends within seconds whatever is open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

GRACE: Final = 2
"""Seconds that open requests get to end."""
MOST: Final = 256
"""Connections at a time. A process may have 1024 files open as a rule, and a controller needs them for other things."""
HEAD: Final = 30.0
"""Seconds in which the head of a request must have come."""


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, without any connection beyond `MOST`, and none that never asks for anything."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the connection, or drop it."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Read on. Trickling does not put the end off."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD, self.transport.abort)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class QuietServer(uvicorn.Server):
    """An HTTP server on 127.0.0.1 that sleeps until `stop` is set.

    Args:
        app: what it serves.
        stop: set when it must end; with `signals`, set by TERM and INT before open requests are waited for, so that
            those that wait can answer.
        port: where it listens; not needed by who brings a socket.
        signals: whether TERM and INT end it; else they are left to the program around it.
        web_socket: makes the protocol of a WebSocket; without it a request for one is taken as any other.
    """

    def __init__(
        self,
        app: Any,  # noqa: ANN401  uvicorn's own type is wider than ours
        stop: asyncio.Event,
        *,
        port: int = 0,
        signals: bool = False,
        web_socket: Callable[..., asyncio.Protocol] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=port,
                loop="asyncio",
                http=BoundedProtocol,
                ws=cast("type[asyncio.Protocol]", web_socket) if web_socket else "none",
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._stop = stop
        self._signals = signals
        self._loop = asyncio.get_running_loop()

    async def main_loop(self) -> None:
        """Wait for the end: uvicorn's own loop wakes ten times a second to write a date, 0.2 s of CPU a minute."""
        await self._stop.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end. Always calls on: the SSE library hooks itself in there to end its streams."""
        self._loop.call_soon_threadsafe(self._stop.set)
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture those that end it, if any."""
        with super().capture_signals() if self._signals else contextlib.nullcontext():
            yield
