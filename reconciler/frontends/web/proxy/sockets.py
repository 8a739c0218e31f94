"""Pass the messages of a WebSocket between a browser and an agent: its page's terminal is one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from reconciler.bridge.connect import dial
from reconciler.frontends.web.proxy import headers
from reconciler.frontends.web.proxy.answers import Refusal
from reconciler.system.aio import until_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.asyncio.client import ClientConnection
    from websockets.typing import Subprotocol

    from reconciler.frontends.web.proxy.reach import VisitedAgent
    from reconciler.mcpkit.http_guard import Receive, Scope, Send

MESSAGE_LIMIT: Final = 16 * 2**20
"""Bytes of one message; uvicorn's limit of the other side."""
OPEN_LIMIT: Final = 10.0
"""Seconds until the agent has opened it."""
GOING_AWAY: Final = 1001
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class Relay:
    """One WebSocket.

    Args:
        scope: of the upgrade.
        receive: the browser's side.
        send: the browser's side.
        allowed: tells whether the browser is still let in; asked before each message.
        stop: ends it, since the controller ends.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, allowed: Callable[[], bool], stop: asyncio.Event
    ) -> None:
        self._stop = stop
        self._scope = scope
        self._receive = receive
        self._send = send
        self._allowed = allowed

    async def run(self, agent: VisitedAgent) -> None:
        """Open it at the agent, then here, and pass messages until either side leaves.

        Raises:
            Refusal: the agent does not open it.
        """
        await self._receive()
        async with await self._open(agent) as far:
            await self._send({"type": "websocket.accept", "subprotocol": far.subprotocol})
            pumps = (self._to_agent(far), self._to_browser(far), self._stop.wait())
            await until_first(*map(asyncio.create_task, pumps))
            await self._close(far)

    async def _open(self, agent: VisitedAgent) -> ClientConnection:
        wanted: list[Subprotocol] = list(self._scope["subprotocols"])
        try:
            sock = await dial(agent.way)
        except OSError:
            raise Refusal(503, f"cannot show {agent.name}: its agent does not listen now", again=True) from None
        try:
            return await connect(
                f"ws://{agent.authority}{headers.target(self._scope).decode('ascii')}",
                sock=sock,
                additional_headers=dict(agent.authorization),
                subprotocols=wanted or None,
                user_agent_header=None,
                compression=None,
                proxy=None,
                max_size=MESSAGE_LIMIT,
                open_timeout=OPEN_LIMIT,
                ping_interval=None,  # the browser's side does that
                close_timeout=1,
            )
        except (OSError, WebSocketException, ValueError):
            if sock is not None:
                sock.close()
            raise Refusal(502, f"cannot open this in {agent.name}: its agent refuses") from None

    async def _to_agent(self, far: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while (message := await self._receive())["type"] == "websocket.receive" and self._allowed():
                text = message.get("text")
                await far.send(message["bytes"] if text is None else text)

    async def _to_browser(self, far: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            async for message in far:
                if not self._allowed():
                    return
                kind = "text" if isinstance(message, str) else "bytes"
                await self._send({"type": "websocket.send", kind: message})

    async def _close(self, far: ClientConnection) -> None:
        """Close the browser's side as the agent closed, or as going away where it did not."""
        code = far.close_code if far.close_code in _SENDABLE else GOING_AWAY
        with contextlib.suppress(OSError, RuntimeError):  # it has left by itself
            await self._send({"type": "websocket.close", "code": code, "reason": (far.close_reason or "")[:100]})
