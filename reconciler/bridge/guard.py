"""Who may come in, before any library sees the request.

/health   open: the bridge is alive, and whether its agent answers (asked at most every few seconds, no password)
/ready    with the token: 200, proof that this is our bridge, without loading the MCP library
/mcp, /   with the token: MCP
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from reconciler.core import env_keys
from reconciler.mcpkit.http_guard import allowed_origins, bears, header, misdirected, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.bridge.config import Config
    from reconciler.mcpkit.http_guard import App, Receive, Scope, Send

FRESH: Final = 5.0
"""Seconds for which an answer of the agent counts."""
LIMIT: Final = 1.0
"""Seconds that the agent is given to answer."""
ENDPOINTS: Final = frozenset({"/", "/mcp", "/mcp/"})
"""The original tool takes any path, so clients are configured with and without `/mcp`."""


class Reach:
    """Whether the agent answers, asked now and then: that it refuses who has no password proves that it is up."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._answer = "unknown"
        self._asked = -FRESH
        self._lock = asyncio.Lock()

    async def look(self) -> tuple[str, float]:
        """Return the answer (reachable, unreachable, asks for no password) and its age in seconds."""
        async with self._lock:
            if time.monotonic() - self._asked >= FRESH:
                self._answer = await self._ask()
                self._asked = time.monotonic()
        return self._answer, time.monotonic() - self._asked

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(LIMIT):
                status = await self._status_line()
        except (OSError, TimeoutError, ValueError):
            return "unreachable"
        return "reachable" if b" 401" in status else "asks for no password" if b" 200" in status else "unreachable"

    async def _status_line(self) -> bytes:
        """Read the status line by hand: an HTTP client would cost an unused bridge more than all the rest of it.

        Without the password: anybody may ask us, and anybody may listen there while the agent is down.
        """
        host, port = self._config.agent_host, self._config.agent_port
        reader, writer = await asyncio.open_connection(host, port)
        try:
            path = self._config.access.open_request.path
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()


class BridgeGuard:
    """The outermost ASGI app."""

    def __init__(self, config: Config, mcp: App, loaded: Callable[[], bool]) -> None:
        self._project = config.project
        self._kind = config.access.kind
        self._token = config.token
        self._origins = allowed_origins(config.port)
        self._reach = Reach(config)
        self._mcp = mcp
        self._loaded = loaded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let in."""
        if scope["type"] != "http":
            return
        if foreign := misdirected(scope, self._origins):
            await reply(send, *foreign)
        elif scope["path"] == "/health":
            await self._health(scope, send)
        elif scope["path"] != "/ready" and scope["path"] not in ENDPOINTS:
            await reply(send, 404, {"error": "cannot find this path: MCP is at /mcp"})
        elif not bears(header(scope, b"authorization") or "", self._token):
            # No `resource_metadata` here: it would send clients looking for an OAuth server.
            answer = {"error": f"cannot let you in: send the project's {env_keys.TOKEN} as a bearer token"}
            await reply(send, 401, answer, {"www-authenticate": "Bearer"})
        elif scope["path"] == "/ready":
            await reply(send, 200, {"status": "ready", "project": self._project})
        elif scope["method"] != "POST":
            # The library would open a stream on which nothing ever comes, as there are no sessions: the protocol
            # lets a server say so, and then nothing has to be ended with us.
            await reply(send, 405, {"error": "cannot do this here: use POST"}, {"allow": "POST"})
        else:
            await self._mcp({**scope, "path": "/mcp", "raw_path": b"/mcp"}, receive, send)

    async def _health(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await reply(send, 405, {"error": "cannot do this here: use GET"}, {"allow": "GET, HEAD"})
            return
        answer, age = await self._reach.look()
        agent = {"state": answer, "age_seconds": round(age, 1)}
        body = {"status": "ok", "project": self._project, self._kind: agent, "mcp_loaded": self._loaded()}
        await reply(send, 200, body)
