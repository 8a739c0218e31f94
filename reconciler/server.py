"""The controller's HTTP server, and the same tools on stdin and stdout.

Belongs here: who may come in, and an end that comes within seconds whatever is open. Does not belong here: the tools
(`tools`). The MCP library is loaded by the first request that needs it: half a second and 45 MB that a controller
nobody talks to does without.

    /healthz  open: the controller is alive
    /mcp      with the token: MCP
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib
import os
import re
import secrets
import signal
import socket
import stat
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from reconciler import __version__, files
from reconciler.bridge.guard import allowed_hosts, allowed_origins, header, reply
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reconciler.bridge.guard import App, Receive, Scope, Send
    from reconciler.settings import Home, Settings

BODY_LIMIT: Final = 2**20
"""Bytes of one request."""
GRACE: Final = 2
"""Seconds that open requests get to end."""


def token_file(home: Home) -> Path:
    """Where the token of the controller's endpoint is."""
    return home.controller / "token"


def token(home: Home) -> str:
    """The token, made where there is none.

    Raises:
        UserError: others may read it, or it is no token.
    """
    path = token_file(home)
    if not path.exists():
        files.private_folder(path.parent)
        files.replace_file(path, f"{secrets.token_urlsafe(32)}\n".encode())
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UserError(f"cannot use {path}: others may read it; delete it, and a new one is made")
    found = path.read_text().strip()
    if re.fullmatch(r"[!-~]{16,}", found) is None:
        raise UserError(f"cannot use {path}: it holds no token of 16 or more characters; delete it, and one is made")
    return found


class Guard:
    """The outermost ASGI app: Host, Origin and token, before any library sees the request."""

    def __init__(self, home: Home, port: int, mcp: App) -> None:
        self._home = home
        self._hosts = allowed_hosts(port)
        self._origins = allowed_origins(port)
        self._mcp = mcp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let in."""
        if scope["type"] != "http":
            return
        # Against DNS rebinding: a page on evil.example that resolves to 127.0.0.1 still sends its own Host.
        if header(scope, b"host") not in self._hosts:
            await reply(send, 421, {"error": "cannot serve this Host: use 127.0.0.1"})
        elif header(scope, b"origin") not in {None, *self._origins}:
            await reply(send, 403, {"error": "cannot serve pages of another origin"})
        elif scope["path"] == "/healthz":
            await reply(send, 200, {"status": "ok", "version": __version__, "pid": os.getpid()})
        elif scope["path"] not in {"/mcp", "/mcp/"}:
            await reply(send, 404, {"error": "cannot find this path: MCP is at /mcp"})
        elif refusal := self._refusal(header(scope, b"authorization") or ""):
            # No `resource_metadata` here: it would send clients looking for an OAuth server.
            await reply(send, 401, {"error": refusal}, {"www-authenticate": "Bearer"})
        elif scope["method"] != "POST":
            await reply(send, 405, {"error": "cannot do this here: use POST"}, {"allow": "POST"})
        else:
            await self._mcp({**scope, "path": "/mcp", "raw_path": b"/mcp"}, receive, send)

    def _refusal(self, sent: str) -> str:
        """Why this one may not come in, empty when it may. Reads the token anew, so that a new one counts at once."""
        scheme, _, secret = sent.partition(" ")
        try:
            known = token(self._home)
        except (OSError, UserError) as error:
            return str(error)
        if scheme.lower() == "bearer" and hmac.compare_digest(secret.encode("latin-1"), known.encode()):
            return ""
        return f"cannot let you in: send the token in {token_file(self._home)} as a bearer token"


class Lazy:
    """The MCP app, brought in by the first request that needs it. `run` must be running."""

    def __init__(self, settings: Settings, port: int, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._port = port
        self._stopping = stopping
        self._wanted = asyncio.Event()
        self._app: asyncio.Future[App] = asyncio.get_running_loop().create_future()

    async def run(self, done: asyncio.Event) -> None:
        """Load when wanted; keep the app's session manager open, in this one task, until all is done."""
        waits = [asyncio.create_task(event.wait()) for event in (self._wanted, done)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._wanted.is_set():
            return
        tools = await asyncio.to_thread(importlib.import_module, "reconciler.tools")
        security = await asyncio.to_thread(importlib.import_module, "mcp.server.transport_security")
        mcp = tools.make_server(self._settings, self._stopping)
        app = mcp.streamable_http_app(
            # Stateless: clients go on after the controller was killed and started again.
            stateless_http=True,
            host="127.0.0.1",
            max_request_body_size=BODY_LIMIT,
            transport_security=security.TransportSecuritySettings(
                allowed_hosts=allowed_hosts(self._port), allowed_origins=allowed_origins(self._port)
            ),
        )
        async with mcp.session_manager.run():
            self._app.set_result(app)
            await done.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        self._wanted.set()
        app = await asyncio.shield(self._app)
        await app(scope, receive, send)


class _Server(uvicorn.Server):
    """Leaves signals to the controller, and sleeps while nothing happens."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def main_loop(self) -> None:
        """Wait for the end: uvicorn's own loop wakes ten times a second to write a date, which costs 0.2 s a minute."""
        await self._stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(settings: Settings, stop: asyncio.Event, listening: Callable[[int], None]) -> None:
    """Serve MCP on 127.0.0.1 until `stop` is set.

    Args:
        settings: where, and for which home.
        stop: set when it shall end; it does within seconds, with streams open.
        listening: called with the port.

    Raises:
        OSError: the port is taken.
        UserError: the token cannot be used.
    """
    token(settings.home)
    listener = _listen(settings.http_port)
    port: int = listener.getsockname()[1]
    done = asyncio.Event()
    lazy = Lazy(settings, port, stop)
    server = _Server(_config(Guard(settings.home, port, lazy)), stop)
    async with asyncio.TaskGroup() as group:
        group.create_task(lazy.run(done))
        serving = group.create_task(server.serve(sockets=[listener]))
        listening(port)
        await stop.wait()
        # Its own way of being told: the SSE library hooks itself in there to end its streams.
        server.handle_exit(signal.SIGTERM, None)
        await serving
        done.set()


def _listen(port: int) -> socket.socket:
    # With its protocol named, since asyncio sends small packets at once only then: else each call waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: Any) -> uvicorn.Config:  # noqa: ANN401  uvicorn's own type is wider than ours
    return uvicorn.Config(
        app,
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


async def serve_stdio(settings: Settings) -> None:
    """Serve the same tools on stdin and stdout until it is closed."""
    tools = importlib.import_module("reconciler.tools")
    await tools.make_server(settings, asyncio.Event()).run_stdio_async()
