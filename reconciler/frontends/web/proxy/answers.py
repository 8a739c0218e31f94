"""Short answers of our own to a browser, as pages that a person can read."""

from __future__ import annotations

import html
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from reconciler.frontends.web.proxy.headers import COOKIE
from reconciler.frontends.web.proxy.sessions import COOKIE_LIFE
from reconciler.mcpkit.http_guard import header

if TYPE_CHECKING:
    from reconciler.mcpkit.http_guard import Scope, Send

_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
AGAIN: Final = 2
"""Seconds after which a page that waits for the agent is asked for again."""


class Refusal(Exception):  # noqa: N818  an answer, not a failure
    """The request is answered with a sentence instead.

    Args:
        status: of the answer.
        sentence: begins with "cannot".
        again: whether the same request may well succeed soon.
    """

    def __init__(self, status: int, sentence: str, *, again: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.again = status, sentence, again


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer with a refusal: a page for a person, the sentence alone for a script; a WebSocket is not opened then."""
    page = "text/html" in (header(scope, b"accept") or "")
    body, kind = (_page(refusal), "html") if page else (f"{refusal.sentence}\n", "plain")
    # What is left of its body is not read: the next request on this connection could be hidden in there.
    more = {"connection": "close", "content-type": f"text/{kind}; charset=utf-8"}
    more |= {"retry-after": str(AGAIN)} if refusal.again else {}
    await _answer(scope, send, refusal.status, body.encode(), more)


def _page(refusal: Refusal) -> str:
    title = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
    refresh = f'<meta http-equiv="refresh" content="{AGAIN}">' if refusal.again else ""
    hint = "<p>This page tries again by itself.</p>" if refusal.again else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}<title>{title}</title></head>'
        f"<body><h1>{title}</h1><p>{html.escape(refusal.sentence)}</p>{hint}</body></html>\n"
    )


async def let_in(scope: Scope, send: Send, cookie: str, path: str) -> None:
    """Give a browser its cookie, and send it on."""
    # Not `Strict`: a browser would keep it back on the redirect after a click in another program (measured).
    text = f"{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_LIFE:.0f}"
    await _answer(scope, send, HTTPStatus.SEE_OTHER, b"", {"location": path, "set-cookie": text})


async def _answer(scope: Scope, send: Send, status: int, body: bytes, more: dict[str, str]) -> None:
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    fields = _HEADERS | {"content-length": str(len(body))} | more
    listed = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": f"{kind}.start", "status": status, "headers": listed})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})
