"""One HTTP exchange with an MCP client, made fit for the MCP library.

Any `Accept` that includes JSON is served; what is no JSON-RPC message, or of an unknown protocol version, gets the
protocol's error, which quotes nothing.

The library answers clients of older protocol versions with a stream of events. A client that did not offer to read
one gets the last event, the response itself, as JSON.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pydantic_core
from mcp_types.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
    jsonrpc_message_adapter,
)
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from reconciler.mcpkit.http_guard import header, reply

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from reconciler.mcpkit.http_guard import App, Receive, Scope, Send

    Message = MutableMapping[str, Any]

VERSION_HEADER: Final = b"mcp-protocol-version"
_JSON: Final = frozenset({"*/*", "application/*", "application/json"})
_EVENTS: Final = frozenset({"text/*", "text/event-stream"})
_BOTH: Final = (b"accept", b"application/json, text/event-stream")
_VERSION: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")


class Fault(NamedTuple):
    """A JSON-RPC error."""

    code: int
    message: str
    id: str | int | None = None
    data: object = None

    @property
    def body(self) -> dict[str, object]:
        """The message on the wire."""
        error = {"code": self.code, "message": self.message} | ({} if self.data is None else {"data": self.data})
        return {"jsonrpc": "2.0", "id": self.id, "error": error}


class Exchange:
    """The ASGI app around the MCP library's.

    Args:
        app: the library's.
        limit: bytes of one request.
    """

    def __init__(self, app: App, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is wrong, pass on what is right."""
        as_json, as_events = accepted(scope)
        if not as_json and not as_events:
            await reply(send, 406, Fault(INVALID_REQUEST, "Not Acceptable: accept application/json").body)
            return
        body = await _body(receive, self._limit)
        if body is None:
            return
        if len(body) > self._limit:
            await reply(send, 413, Fault(INVALID_REQUEST, f"Request too large: at most {self._limit} bytes").body)
            return
        if fault := find_fault(body, header(scope, VERSION_HEADER)):
            await reply(send, 400, fault.body)
            return
        headers = [(name, value.lower() if name == b"host" else value) for name, value in scope["headers"]]
        fit = {**scope, "headers": [*(pair for pair in headers if pair[0] != b"accept"), _BOTH]}
        if as_events:
            await self._app(fit, _replay(body, receive), send)
        else:
            whole = _Whole(send)
            await self._app(fit, _replay(body, receive), whole)
            await whole.finish()


def accepted(scope: Scope) -> tuple[bool, bool]:
    """Tell whether the client takes JSON, and whether it takes a stream of events. Without the header: JSON."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"]
    kinds = set()
    for one in ",".join(values).lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        if not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters):
            kinds.add(kind)
    return not "".join(values).strip() or bool(kinds & _JSON), bool(kinds & _EVENTS)


def find_fault(body: bytes, version: str | None) -> Fault | None:
    """Find what is wrong with a message; None when the library may have it.

    Args:
        body: of the request.
        version: the protocol version that its header names.
    """
    try:
        message = pydantic_core.from_json(body)
    except ValueError:
        return Fault(PARSE_ERROR, "Parse error")
    if isinstance(message, list):
        return Fault(INVALID_REQUEST, "Invalid Request: batches are not supported, send one message at a time")
    if not isinstance(message, dict):
        return Fault(INVALID_REQUEST, "Invalid Request: not a JSON-RPC message")
    known = message["id"] if type(message.get("id")) in {int, str} else None
    if "method" in message and "id" in message and known is None:
        return Fault(INVALID_REQUEST, "Invalid Request: the id must be a string or an integer")
    try:
        jsonrpc_message_adapter.validate_python(message, by_name=False)
    except ValidationError:
        return Fault(INVALID_REQUEST, "Invalid Request: not a JSON-RPC message", known)
    if version is not None and version not in KNOWN_PROTOCOL_VERSIONS:
        # The protocol wants what was requested repeated; only what can be a version is. And the supported ones are
        # those that need no handshake, as in the answer to `server/discover`.
        requested = version if _VERSION.fullmatch(version) else "unknown"
        data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": requested}
        return Fault(UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version", known, data)
    return None


async def _body(receive: Receive, limit: int) -> bytes | None:
    """Read the request's body, cut off soon after the limit; None when the client has gone."""
    body = bytearray()
    while len(body) <= limit:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Replay the body that was read, then pass on whatever comes."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


class _Whole:
    """Takes an answer; sends on what is no stream of events at once, and of a stream its response as JSON."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._streams = False
        self._events = bytearray()

    async def __call__(self, message: Message) -> None:
        """Send a message for the library."""
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            self._streams = kind.startswith(b"text/event-stream")
        if not self._streams:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._events += message.get("body", b"")

    async def finish(self) -> None:
        """Answer at the end of the stream, also when it ended without a response."""
        if not self._streams:
            return
        answer = _response(bytes(self._events))
        if answer is None:
            await reply(self._send, 503, Fault(INTERNAL_ERROR, "The request ended without an answer").body)
        else:
            await reply(self._send, 200, answer)


def _response(events: bytes) -> dict[str, Any] | None:
    """Return the one message of a stream that answers the request: notifications have neither a result nor an error."""
    for line in reversed(events.splitlines()):  # of bytes: in text, Unicode's line separators would count too
        if line.startswith(b"data:"):
            message: dict[str, Any] = json.loads(line.removeprefix(b"data:"))
            if message.keys() & {"result", "error"}:
                return message
    return None
