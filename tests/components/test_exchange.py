"""One exchange with a client that does not read streams, and bodies as they come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.mcpkit.exchange import Exchange, accepted

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from reconciler.mcpkit.http_guard import Receive, Scope, Send

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
PROGRESS = b'event: message\r\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\r\n\r\n'
RESULT = {"jsonrpc": "2.0", "id": 1, "result": {"text": "line\u2028separator\x85 and \x0c"}}
ANSWER = b"event: message\r\ndata: " + json.dumps(RESULT, ensure_ascii=False).encode() + b"\r\n\r\n"


def streaming(*events: bytes) -> Any:
    """A fake of the library's app: it streams these events."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == REQUEST
        kind = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def exchange(app: Any, *parts: bytes | None, accept: str = "application/json") -> tuple[int, str]:
    """The status and the body of the answer to a request whose body comes in parts; None: the client is gone."""
    left, sent = list(parts), []

    async def receive() -> MutableMapping[str, Any]:
        part = left.pop(0)
        kind = "http.disconnect" if part is None else "http.request"
        return {"type": kind, "body": part, "more_body": bool(left)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"accept", accept.encode())]}
    await Exchange(app, 100)(scope, receive, send)
    return sent[0]["status"] if sent else 0, b"".join(one.get("body", b"") for one in sent).decode()


async def test_a_stream_is_answered_with_its_response_alone() -> None:
    status, body = await exchange(streaming(PROGRESS, ANSWER[:30], ANSWER[30:]), REQUEST[:9], REQUEST[9:])

    assert (status, json.loads(body)) == (200, RESULT)


async def test_a_stream_is_left_as_it_is_for_who_reads_one() -> None:
    _, body = await exchange(streaming(PROGRESS, ANSWER), REQUEST, accept="text/event-stream")

    assert body.encode() == PROGRESS + ANSWER


async def test_a_stream_that_ends_without_a_response_is_an_error() -> None:
    status, body = await exchange(streaming(PROGRESS), REQUEST)

    assert (status, json.loads(body)["error"]["message"]) == (503, "The request ended without an answer")


async def test_a_body_that_is_too_large_or_never_ends_is_refused() -> None:
    assert (await exchange(streaming(), b"x" * 60, b"x" * 60, b"never read"))[0] == 413
    assert await exchange(streaming(), b"{", None) == (0, "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (True, False)),
        ("", (True, False)),
        ("*/*", (True, False)),
        ("application/json, text/event-stream", (True, True)),
        ("text/event-stream;q=0.5,application/json;q=0.000", (False, True)),
        ("text/html", (False, False)),
    ],
)
def test_what_a_client_accepts(value: str | None, expected: tuple[bool, bool]) -> None:
    headers = [] if value is None else [(b"accept", value.encode())]

    assert accepted({"headers": headers}) == expected
