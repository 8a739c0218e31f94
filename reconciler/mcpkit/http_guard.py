"""Who may come in over HTTP, and short answers: what the controller's endpoint and each bridge's have in common."""

from __future__ import annotations

import hmac
import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
"""The names of this machine that only its own processes reach."""
_HOST: Final = re.compile(rf"({'|'.join(map(re.escape, LOOPBACK))})(:[0-9]{{1,5}})?", re.IGNORECASE)


def misdirected(scope: Scope, origins: Collection[str]) -> tuple[int, dict[str, str]] | None:
    """Answer a request that is not for us, judged by its Host and Origin; None for one that is.

    Against DNS rebinding: a page on evil.example that resolves to 127.0.0.1 still sends its own Host. The port in a
    Host says nothing about that, and at the other end of an SSH tunnel it is another one.
    """
    if _HOST.fullmatch(header(scope, b"host") or "") is None:
        return 421, {"error": "cannot serve this Host: use 127.0.0.1 or localhost, with any port"}
    if header(scope, b"origin") not in {None, *origins}:
        return 403, {"error": "cannot serve pages of another origin"}
    return None


def allowed_origins(port: int) -> list[str]:
    """Return our own pages alone: agents serve pages on other ports of this very host."""
    return [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]


async def reply(send: Send, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
    """Send one small JSON answer."""
    data = json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data)), "cache-control": "no-store"}
    listed = [(name.encode(), value.encode()) for name, value in (fields | dict(headers or {})).items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": data})


def header(scope: Scope, name: bytes) -> str | None:
    """Return the header's value; None without one. A header that is sent twice has no allowed value."""
    values = [value for key, value in scope["headers"] if key == name]
    return None if not values else values[0].decode("latin-1") if len(values) == 1 else "\0"


def bears(sent: str, token: str) -> bool:
    """Tell whether an Authorization header bears this token. An empty token lets nobody in."""
    scheme, _, secret = sent.partition(" ")
    return scheme.lower() == "bearer" and bool(token) and hmac.compare_digest(secret.encode("latin-1"), token.encode())
