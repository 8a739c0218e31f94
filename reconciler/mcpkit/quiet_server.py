"""uvicorn as a server that costs nothing while nobody asks, and ends within seconds whatever is open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

GRACE: Final = 2
"""Seconds that open requests get to end."""


class QuietServer(uvicorn.Server):
    """An HTTP server on 127.0.0.1 that sleeps until `stop` is set.

    Args:
        app: what it serves.
        stop: set when it must end; with `signals`, set by TERM and INT before open requests are waited for, so that
            those that wait can answer.
        port: where it listens; not needed by who brings a socket.
        signals: whether TERM and INT end it; else they are left to the program around it.
    """

    def __init__(self, app: Any, stop: asyncio.Event, *, port: int = 0, signals: bool = False) -> None:  # noqa: ANN401  uvicorn's own type is wider than ours
        super().__init__(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=port,
                loop="asyncio",
                http="h11",
                ws="none",
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
