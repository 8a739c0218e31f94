"""The proxy itself: lets browsers in by a one-time code, and passes the requests of those who were let in.

Every request is judged by itself, whatever came before it on the same connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from reconciler.bridge import connect
from reconciler.frontends.web import hosts
from reconciler.frontends.web.proxy import answers, headers, reach
from reconciler.frontends.web.proxy.answers import Refusal
from reconciler.frontends.web.proxy.forward import PassedRequest
from reconciler.frontends.web.proxy.sessions import BrowserSessions
from reconciler.frontends.web.proxy.sockets import Relay
from reconciler.mcpkit.http_guard import header

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.frontends.web.proxy.reach import VisitedAgent
    from reconciler.mcpkit.http_guard import Receive, Scope, Send
    from reconciler.settings import Settings

OURS: Final = "/__ocm/"
"""What begins like this never reaches an agent."""
ENTER: Final = "/__ocm/enter"
MOST: Final = 64
"""Requests of one project at a time: a browser opens 6 connections, and each terminal is one more."""


class Proxy:
    """An ASGI app. What it knows of a project it knows for one request."""

    def __init__(self, settings: Settings, stop: asyncio.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._sessions = BrowserSessions(settings.home)
        self._busy: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._serve(scope, receive, send, _judged(scope))
        except Refusal as refusal:
            await answers.refuse(scope, send, refusal)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        if scope["path"] == ENTER and scope["type"] == "http":
            await self._enter(scope, send, name)
        elif scope["path"].startswith(OURS):
            raise Refusal(404, "cannot find this path")
        else:
            await self._guarded(scope, receive, send, name)

    async def _enter(self, scope: Scope, send: Send, name: str) -> None:
        """Trade a code for a cookie."""
        if scope["method"] != "GET":
            raise Refusal(405, "cannot do this here: use GET")
        code = parse_qs(scope["query_string"].decode("latin-1")).get("code", [""])[0]
        if not self._sessions.invited(name, code):
            raise Refusal(
                403, f"cannot let this browser in: each address works once; get one with: opencode-manager open {name}"
            )
        found = reach.agent(self._settings, name)
        entered = await asyncio.to_thread(self._sessions.enter, name, code, found.way.secret)
        if entered is None:
            raise reach.locked(name)
        await answers.let_in(scope, send, entered.cookie, entered.path)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """Pass the request of a browser that was let in."""
        cookie, value = reach.admitted(self._sessions, name, headers.cookies(scope))
        found = reach.agent(self._settings, name)
        reach.check(cookie, value, found)
        if self._busy[name] >= MOST:
            raise Refusal(503, f"cannot do more than {MOST} things at once for {name}", again=True)
        self._busy[name] += 1

        def allowed() -> bool:
            known = self._sessions.known(name, value)
            return known is not None and not known.revoked

        try:
            await self._pass(scope, receive, send, found, allowed)
        finally:
            self._busy[name] -= 1
            if not self._busy[name]:
                del self._busy[name]

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, found: VisitedAgent, allowed: Callable[[], bool]
    ) -> None:
        if scope["type"] == "websocket":
            await Relay(scope, receive, send, allowed, self._stop).run(found)
            return
        transport = connect.transport(found.way)
        exchange = PassedRequest(scope, receive, send, allowed, self._stop)
        try:
            await exchange.run(found, transport)
        except Refusal:
            if not exchange.answered:
                raise
        finally:
            await transport.aclose()


def _judged(scope: Scope) -> str:
    """Return the project that a request is for. Raises Refusal."""
    name = hosts.project(header(scope, b"host") or "")
    if name is None:
        raise Refusal(421, "cannot serve this Host: use the address that opencode-manager open prints")
    if wrong := headers.malformed(scope):
        raise Refusal(*wrong)
    if why := headers.foreign(scope):
        raise Refusal(403, why)
    return name


def make(settings: Settings, stop: asyncio.Event) -> Proxy:
    """Return the app, and let uvicorn not log what is no news: paths of WebSockets, and answers that are cut off."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return Proxy(settings, stop)


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING and "without completing response" not in str(record.msg)
