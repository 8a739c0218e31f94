"""The controller's HTTP server.

The MCP library is loaded by the first request that needs it: half a second and 45 MB that a controller nobody talks
to does without.

    /healthz  open: the controller is alive
    /mcp      with the token: MCP

Requests for a project's own host name go to `web`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import secrets
import signal
import socket
import stat
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.frontends.web import entrance
from reconciler.mcpkit.http_guard import allowed_origins, bears, header, misdirected, reply
from reconciler.mcpkit.lazy_app import Loader
from reconciler.mcpkit.quiet_server import QuietServer
from reconciler.settings import UserError
from reconciler.system import files
from reconciler.system.aio import failure, summary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from reconciler.mcpkit.http_guard import App, Receive, Scope, Send
    from reconciler.settings import Home, Settings


def token_file(home: Home) -> Path:
    """Return where the token of the controller's endpoint is."""
    return home.controller / "token"


def token(home: Home) -> str:
    """Return the token; make one where there is none.

    Raises:
        UserError: others may read it, or it is no token.
    """
    path = token_file(home)
    if not path.exists():
        files.private_folder(path.parent)
        files.replace_file(path, f"{secrets.token_urlsafe(32)}\n".encode())
    return known_token(home)


def known_token(home: Home) -> str:
    """Return the token if there is one; make none.

    Raises:
        FileNotFoundError: there is none.
        UserError: others may read it, or it is no token.
    """
    path = token_file(home)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UserError(f"cannot use {path}: others may read it; delete it, and a new one is made")
    found = path.read_bytes().strip().decode("ascii", "replace")
    if re.fullmatch(r"[!-~]{16,}", found) is None:
        raise UserError(f"cannot use {path}: it holds no token of 16 or more characters; delete it, and one is made")
    return found


class EndpointGuard:
    """The outermost ASGI app: Host, Origin and token, before any library sees the request.

    Args:
        home: whose token counts.
        port: of the endpoint.
        mcp: the app for those who are let in.
        report: called with what is wrong with the token, and with an empty text once nothing is.
        web: the app for the host names of projects, which has its own guard.
    """

    def __init__(
        self,
        home: Home,
        port: int,
        mcp: App,
        report: Callable[[str], None] = lambda _problem: None,
        web: entrance.Entrance | None = None,
    ) -> None:
        self._home = home
        self._web = web
        self._origins = allowed_origins(port)
        self._mcp = mcp
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let in."""
        if self._web is not None and self._web.takes(scope):
            await self._web(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif foreign := misdirected(scope, self._origins):
            await reply(send, *foreign)
        elif scope["path"] == "/healthz":
            await reply(send, 200, {"status": "ok", "version": __version__, "pid": os.getpid()})
        elif scope["path"] not in {"/mcp", "/mcp/"}:
            await reply(send, 404, {"error": "cannot find this path: MCP is at /mcp"})
        elif (known := self._token()) is None:
            await reply(send, 503, {"error": "cannot check tokens now; try again"}, {"retry-after": "1"})
        elif not bears(header(scope, b"authorization") or "", known):
            # No `resource_metadata` here: it would send clients looking for an OAuth server. And no path: the command
            # shows it to those who may know it.
            answer = {"error": "cannot let you in: send the token that opencode-manager mcp-config refers to"}
            await reply(send, 401, answer, {"www-authenticate": "Bearer"})
        elif scope["method"] != "POST":
            await reply(send, 405, {"error": "cannot do this here: use POST"}, {"allow": "POST"})
        else:
            await self._mcp({**scope, "path": "/mcp", "raw_path": b"/mcp"}, receive, send)

    def _token(self) -> str | None:
        """Return the token that lets clients in: empty when none can, None when it is unknown. A new one counts now."""
        path = token_file(self._home)
        try:
            known = known_token(self._home)
        except UserError as error:
            self._report(str(error))
            return ""
        except FileNotFoundError:
            self._report(f"cannot find {path}: nobody is let in; opencode-manager mcp-config makes a new token")
            return ""
        except OSError as error:
            self._report(f"cannot read {path}: {summary(error)}")
            return None
        self._report("")
        return known


class _Problems:
    """What is wrong with the endpoint, part by part; reports every change."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._known: dict[str, str] = {}

    def of(self, part: str) -> Callable[[str], None]:
        """Return the function by which a part reports a problem, or an empty text when there is none."""

        def report(problem: str) -> None:
            if problem != self._known.get(part, ""):
                self._known[part] = problem
                self._notify("; ".join(filter(None, self._known.values())))

        return report


async def serve(settings: Settings, stop: asyncio.Event, listening: Callable[[int, str], None]) -> None:
    """Serve MCP on 127.0.0.1 until `stop` is set.

    Args:
        settings: where, and for which home.
        stop: set when it must end; it does within seconds, with streams open.
        listening: called with the port and what is wrong with the endpoint nevertheless.

    Raises:
        OSError: the port is taken.
        UserError: the token cannot be used.
        ExceptionGroup: the HTTP server failed.
    """
    token(settings.home)
    with contextlib.closing(_listen(settings.http_port)) as listener:
        port: int = listener.getsockname()[1]
        problems = _Problems(lambda problem: listening(port, problem))
        loader = Loader(lambda: _app(settings, port, stop), problems.of("app"))
        web = entrance.Entrance(settings, stop)
        guard = EndpointGuard(settings.home, port, loader, problems.of("token"), web)
        server = QuietServer(guard, stop, web_socket=entrance.web_socket)
        async with asyncio.TaskGroup() as group:
            group.create_task(loader.run())
            serving = group.create_task(failure(server.serve(sockets=[listener])))
            stopped = group.create_task(stop.wait())
            listening(port, "")
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                raise serving.result() or RuntimeError("the HTTP server has ended by itself")
            # How it learns of its end: the SSE library hooks itself in there to end its streams.
            server.handle_exit(signal.SIGTERM, None)
            await serving
            loader.close()


@contextlib.asynccontextmanager
async def _app(settings: Settings, port: int, stop: asyncio.Event) -> AsyncIterator[App]:
    """Serve the MCP app within the block. Loads in threads: the library takes 0.5 s, making the tools 0.1 s."""
    tools = await asyncio.to_thread(importlib.import_module, "reconciler.frontends.mcp.tools")
    endpoint = await asyncio.to_thread(importlib.import_module, "reconciler.mcpkit.endpoint")
    mcp = await asyncio.to_thread(tools.make_server, settings, stop)
    async with endpoint.serving(mcp, port) as app:
        yield app


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
