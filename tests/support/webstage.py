"""The controller's HTTP server with one project behind it, in this process: its guard, the proxy, an agent of ours.

Belongs here: serving both, letting a browser in, raw requests, and what the agent heard. The run record says that we
are the agent, so the proof is the real one. Does not belong here: what is let through, or a real OpenCode.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from reconciler import settings as settings_module
from reconciler.frontends.mcp.server import EndpointGuard
from reconciler.frontends.web import entrance, hosts
from reconciler.frontends.web.proxy.sessions import BrowserSessions
from reconciler.mcpkit.quiet_server import QuietServer
from reconciler.state import published
from tests.support.runs import record_leader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from reconciler.mcpkit.http_guard import Receive, Scope, Send
    from reconciler.settings import Settings

NAME: Final = "demo"
PASSWORD: Final = "password-of-the-agent-0123456789"
BASIC: Final = b"Basic b3BlbmNvZGU6cGFzc3dvcmQtb2YtdGhlLWFnZW50LTAxMjM0NTY3ODk="
PATIENCE: Final = 60.0
"""Seconds that no test takes."""


class Agent:
    """An agent's server: it keeps what it heard, and answers by path."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, list[tuple[bytes, bytes]], bytes]] = []
        """Method, target, headers and body of each request, oldest first."""
        self.more, self.cut, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        """Let a stream go on, let it break off; set when its reader has left."""
        self.headers: list[tuple[bytes, bytes]] = []
        """Of every answer."""
        self.status = 200

    def header(self, name: str) -> list[bytes]:
        """The values of a header of the newest request."""
        return [value for key, value in self.heard[-1][2] if key == name.encode()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        if scope["type"] == "websocket":
            self.heard.append(("WEBSOCKET", target, list(scope["headers"]), b""))
            await self._talk(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.heard.append((scope["method"], target, list(scope["headers"]), body))
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        if scope["path"] == "/stream":
            await send(start)
            await self._stream(receive, send)
        else:
            said = b"" if scope["method"] == "HEAD" else body or b"the page"
            await send({**start, "headers": [*self.headers, (b"content-length", b"%d" % len(said))]})
            await send({"type": "http.response.body", "body": said})

    async def _stream(self, receive: Receive, send: Send) -> None:
        """Say one thing, wait, say another or break off."""
        await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})
        left = asyncio.ensure_future(receive())
        more, cut = (asyncio.create_task(one.wait()) for one in (self.more, self.cut))
        await asyncio.wait([left, more, cut], return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            self.left.set()
        for wait in (left, more, cut):
            wait.cancel()
        if more.done():
            await send({"type": "http.response.body", "body": b"data: two\n\n", "more_body": False})

    async def _talk(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Repeat every message; end at `bye`, refuse at /no."""
        await receive()
        if scope["path"] == "/no":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[0]})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "bye":
                await send({"type": "websocket.close", "code": 1000, "reason": "as you say"})
                return
            await send({"type": "websocket.send", **{key: message.get(key) for key in ("text", "bytes")}})
        self.left.set()


@dataclass
class Stage:
    """Both servers."""

    settings: Settings
    agent: Agent
    agent_port: int
    port: int
    stop: asyncio.Event
    """Set when the controller ends."""
    sessions: BrowserSessions = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = BrowserSessions(self.settings.home)

    @property
    def host(self) -> str:
        """As a browser says it."""
        return f"{hosts.host(NAME)}:{self.port}"

    def publish(self, **changes: Any) -> None:
        """Publish the project as it runs, but for these changes."""
        status = {
            "name": NAME,
            "kind": "opencode",
            "desired": "running",
            "reason": "Ready",
            "message": "",
            "agent": {"state": "running", "port": self.agent_port},
            "stalled": {"status": False, "reason": "", "message": ""},
        } | changes
        about = published.ControllerInfo(pid=1, specs="", http_port=self.port, started=0.0)
        published.Writer(self.settings.home).write(about, {NAME: status})

    def password(self, password: str) -> None:
        """Write the `.env`."""
        path = self.settings.home.sandbox(NAME).env_file
        path.touch(mode=0o600)
        path.write_text(f"OPENCODE_SERVER_PASSWORD={password}\nMCP_TOOL_BEARER_TOKEN=token-0123456789-abcdef\n")

    async def raw(self, sent: bytes) -> bytes:
        """All that is answered on one connection to these bytes, until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(sent)
                await writer.drain()
                return await reader.read()
        finally:
            writer.close()

    def request(self, target: str = "/", method: str = "GET", body: bytes = b"", **headers: Any) -> bytes:
        """A request, byte by byte; `None` leaves a header out, `_` in its name is `-`."""
        fields: dict[str, str | None] = {"host": self.host, "connection": "close"}
        fields |= {"content-length": str(len(body))} if body else {}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    async def ask(self, target: str = "/", method: str = "GET", body: bytes = b"", **headers: Any) -> Reply:
        """One request on a connection of its own."""
        return Reply.of(await self.raw(self.request(target, method, body, **headers)))

    async def enter(self) -> str:
        """Let a browser in; the value of its Cookie header."""
        reply = await self.ask(f"/__ocm/enter?code={self.sessions.invite(NAME)}")
        assert reply.status == 303, reply
        return reply.headers["set-cookie"].partition(";")[0]


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, raw: bytes) -> Reply:
        """Take the first answer apart."""
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        return cls(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body)


@contextlib.asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[int]:
    """A server of an ASGI app; its port."""
    stop = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = QuietServer(app, stop, **options)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            # Not as it ends in the product, which takes a tenth of a second.
            task.cancel()
            await asyncio.wait({task})
            for each in server.servers:
                each.close()
            for connection in list(server.server_state.connections):
                getattr(connection, "transport").abort()  # noqa: B009  uvicorn's type has none


@contextlib.asynccontextmanager
async def a_stage(root: Path) -> AsyncIterator[Stage]:
    """A project that runs, and the controller's HTTP server."""
    settings = settings_module.load(environment={settings_module.HOME_VARIABLE: str(root), "PATH": "/usr/bin:/bin"})
    agent, stop = Agent(), asyncio.Event()
    guard = EndpointGuard(settings.home, 0, _nobody, web=entrance.Entrance(settings, stop))
    async with (
        serving(agent, web_socket=entrance.web_socket) as agent_port,
        serving(guard, web_socket=entrance.web_socket) as port,
    ):
        stage = Stage(settings, agent, agent_port, port, stop)
        record_leader(settings.home.sandbox(NAME).run, port=agent_port)
        stage.password(PASSWORD)
        stage.publish()
        yield stage


async def _nobody(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("MCP was asked")


def everything(settings: Settings) -> str:
    """All that lies in the home, names and contents, and the index as it is published."""
    files = (path for path in settings.home.root.rglob("*") if path.is_file())
    return json.dumps([[str(path), path.read_text(errors="replace")] for path in files])
