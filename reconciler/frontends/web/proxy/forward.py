"""Pass one HTTP request to an agent and its answer back, byte by byte, event streams included."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import httpx2

from reconciler.frontends.web.proxy import headers
from reconciler.frontends.web.proxy.answers import Refusal
from reconciler.mcpkit.failure import NothingSentError
from reconciler.mcpkit.http_guard import header
from reconciler.system.aio import until_first

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from reconciler.frontends.web.proxy.reach import VisitedAgent
    from reconciler.mcpkit.http_guard import Receive, Scope, Send

BODY_LIMIT: Final = 64 * 2**20
"""Bytes of a request: pictures and files are put into prompts."""
SLOWEST: Final = 30.0
"""Seconds in which some more of a request must arrive, or some more of an answer be taken."""
SILENCE: Final = 600.0
"""Seconds in which some more of an answer must come: a prompt is answered only when it is done."""
CONNECT: Final = 3.0
"""Seconds."""


class PassedRequest:
    """One request and its answer.

    Args:
        scope: of the request.
        receive: the browser's side.
        send: the browser's side.
        allowed: tells whether the browser is still let in; asked again and again, as an event stream has no end.
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
        self._left = BODY_LIMIT
        self._read = asyncio.Event()
        """Set when nothing of the request is left to be read."""
        self.answered = False
        """Whether the answer has begun."""

    async def run(self, agent: VisitedAgent, transport: httpx2.AsyncBaseTransport) -> None:
        """Pass it on, until it is answered or the browser leaves.

        Raises:
            Refusal: it is too large or too slow, or the agent does not answer; `answered` tells whether too late.
        """
        self._check_length()
        work = asyncio.create_task(self._pass(agent, transport))
        await until_first(work, asyncio.create_task(self._gone()), asyncio.create_task(self._stop.wait()))
        if not work.cancelled() and (error := work.exception()):
            raise error
        if self._stop.is_set() and not self.answered:
            raise Refusal(503, "cannot show anything now: the controller ends", again=True)

    def _check_length(self) -> None:
        given = header(self._scope, b"content-length") or "0"
        if int(given) > BODY_LIMIT:  # h11 has made sure that it is a number
            raise _too_large()

    async def _gone(self) -> None:
        """Wait until the browser has left, or was answered."""
        await self._read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _body(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it arrives."""
        more = True
        while more:
            message = await self._some()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "cannot read the whole request")
            piece, more = message.get("body", b""), message.get("more_body", False)
            self._left -= len(piece)
            if self._left < 0:
                raise _too_large()
            if piece:
                yield piece
        self._read.set()

    async def _some(self) -> Any:  # noqa: ANN401  an ASGI message
        try:
            async with asyncio.timeout(SLOWEST):
                return await self._receive()
        except TimeoutError:
            raise Refusal(408, f"cannot wait longer for a request of which nothing came for {SLOWEST:.0f} s") from None

    def _request(self, agent: VisitedAgent) -> httpx2.Request:
        return httpx2.Request(
            self._scope["method"],
            agent.way.url,
            headers=headers.to_agent(self._scope, agent.authority.encode(), agent.authorization),
            stream=_Stream(self._body()),
            extensions={
                "target": headers.target(self._scope),
                "timeout": {"connect": CONNECT, "pool": CONNECT, "read": SILENCE, "write": SLOWEST},
            },
        )

    async def _pass(self, agent: VisitedAgent, transport: httpx2.AsyncBaseTransport) -> None:
        try:
            answer = await transport.handle_async_request(self._request(agent))
        except NothingSentError:
            raise Refusal(503, f"cannot show {agent.name}: its agent does not listen now", again=True) from None
        except httpx2.TimeoutException:
            raise Refusal(504, f"cannot show {agent.name}: its agent does not answer in time") from None
        except httpx2.TransportError:
            raise Refusal(502, f"cannot show {agent.name}: its agent does not answer", again=True) from None
        try:
            await self._answer(agent, answer)
        finally:
            await answer.aclose()

    async def _answer(self, agent: VisitedAgent, answer: httpx2.Response) -> None:
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            raise Refusal(503, f"cannot show {agent.name}: its agent refuses the password of now", again=True)
        if not 200 <= answer.status_code < 600:
            raise Refusal(502, f"cannot show {agent.name}: its agent answers oddly")
        listed = headers.to_browser(answer.headers.raw)
        self.answered = True
        await self._say({"type": "http.response.start", "status": answer.status_code, "headers": listed})
        try:
            async for piece in answer.aiter_raw():
                if not self._allowed():
                    return  # without an end: it was cut off
                await self._say({"type": "http.response.body", "body": piece, "more_body": True})
        except httpx2.TransportError:
            return  # the same: the browser must not take half of it for the whole
        await self._say({"type": "http.response.body", "body": b"", "more_body": False})

    async def _say(self, message: dict[str, Any]) -> None:
        """Send; a browser that takes nothing for long is taken to be gone."""
        try:
            async with asyncio.timeout(SLOWEST):
                await self._send(message)
        except TimeoutError:
            raise Refusal(408, "cannot wait longer for a browser that takes nothing") from None


class _Stream(httpx2.AsyncByteStream):
    """What follows the head of a request."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece


def _too_large() -> Refusal:
    return Refusal(413, f"cannot take a request of more than {BODY_LIMIT // 2**20} MiB")
