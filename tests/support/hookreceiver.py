"""A real HTTP server that takes webhooks, and plays receivers that fail, hang and are slow."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Hook:
    """One request that was taken or refused."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HookReceiver:
    """The server, on a free port of 127.0.0.1; a context manager that stops it."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.failing = 0
        """How many of the next requests are refused with 500."""
        self.hanging = 0
        """How many of the next ones are never answered."""
        self.came = threading.Condition()
        self._over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver._status()
                with receiver.came:
                    receiver.hooks.append(Hook(status, {k.lower(): v for k, v in self.headers.items()}, body))
                    receiver.came.notify_all()
                if not status:
                    receiver._over.wait()
                    return
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def taken(self) -> list[Hook]:
        """Those that were answered with 200."""
        return [hook for hook in self.hooks if hook.status == 200]

    def _status(self) -> int:
        """What the next one is answered; 0: nothing."""
        with self.came:
            if self.hanging:
                self.hanging -= 1
                return 0
            if self.failing:
                self.failing -= 1
                return 500
            return 200

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
