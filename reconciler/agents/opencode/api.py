"""The client of OpenCode's HTTP API.

    AgentError
      Unreachable   no answer; `sent` says whether the request may have been taken
        Silent      it took the request and says nothing
      Refused       an answer that says no: status, name and message
      TooLarge      an answer beyond the limit
      OddAnswer     an answer of another shape

No call here takes a directory: the server works in the clone it was started in. httpx2, not httpx: the MCP library
has it loaded already.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx2

from reconciler.agents.opencode import shapes
from reconciler.core.plain_text import plain
from reconciler.mcpkit import redact
from reconciler.mcpkit.failure import NothingSentError, ToolFailureError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

ANSWER_LIMIT: Final = 16 * 2**20
"""Bytes of one answer."""
CALL_LIMIT: Final = 20.0
"""Seconds of one call."""
SILENCE_LIMIT: Final = 25.0
"""Seconds of silence on the event stream: it has a heartbeat every 10 s."""
EVENT_LIMIT: Final = 4 * 2**20
"""Characters of one event."""


class AgentError(ToolFailureError):
    """A call failed. The text is a sentence that begins with "cannot"."""


class Unreachable(AgentError):  # noqa: N818  what it is, not that it is an error
    """No answer."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        hint = "opencode_status of the manager shows why, and it restarts a dead agent by itself: try again shortly"
        super().__init__(f"cannot reach the OpenCode server ({reason}): {hint}")
        self.sent = sent


class Silent(Unreachable):
    """It takes connections, and does not answer in time."""

    def __init__(self) -> None:
        super().__init__("no answer in time", sent=True)


class Refused(AgentError):  # noqa: N818  as above
    """OpenCode said no."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(_explain(status, plain(name, 100), plain(redact.text(message), 1000)))
        self.status = status


class TooLarge(AgentError):  # noqa: N818  as above
    """The answer is too large to hand on."""

    def __init__(self) -> None:
        super().__init__(f"cannot hand on an answer of more than {ANSWER_LIMIT // 2**20} MiB: ask for less of it")


class OddAnswer(AgentError):  # noqa: N818  as above
    """The answer has another shape than OpenCode's."""

    def __init__(self, call: str, why: str) -> None:
        hint = "another version of OpenCode, or another program, may answer there; opencode_status shows which"
        super().__init__(f"cannot understand the answer to {call}: {why}; {hint}")


@dataclass(frozen=True)
class ServerEvent:
    """One event of the project."""

    type: str
    properties: Mapping[str, Any]


class OpenCode:
    """One server. Close it.

    Args:
        url: where it answers.
        authorization: the headers that let us in.
        transport: makes the connections, to nobody but that server.
    """

    def __init__(self, url: str, authorization: Mapping[str, str], transport: httpx2.AsyncBaseTransport) -> None:
        self._client = httpx2.AsyncClient(
            base_url=url,
            headers=dict(authorization),
            timeout=httpx2.Timeout(CALL_LIMIT, connect=3.0),
            transport=transport,
            trust_env=False,
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def get(self, path: str, **query: str | int | bool) -> Any:  # noqa: ANN401  whatever JSON may hold
        """Return the decoded answer to a GET. Raises AgentError."""
        return await self._call("GET", path, params=query)

    async def post(self, path: str, body: object = None) -> Any:  # noqa: ANN401  whatever JSON may hold
        """Return the decoded answer to a POST. Raises AgentError."""
        return await self._call("POST", path, json=body if body is not None else {})

    async def delete(self, path: str) -> Any:  # noqa: ANN401  whatever JSON may hold
        """Return the decoded answer to a DELETE. Raises AgentError."""
        return await self._call("DELETE", path)

    @contextlib.asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """Open the event stream from now on; it ends when the server does. Raises AgentError."""
        timeout = httpx2.Timeout(SILENCE_LIMIT, connect=3.0)
        try:
            async with self._client.stream("GET", "/event", timeout=timeout) as response:
                if response.status_code != httpx2.codes.OK:
                    raise _refusal(response.status_code, await _read(response))
                yield _events(response)
        except httpx2.TransportError as error:
            raise _unreachable(error) from None

    async def _call(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401  whatever JSON may hold
        try:
            async with asyncio.timeout(CALL_LIMIT), self._client.stream(method, path, **options) as response:
                body = await _read(response)
        except httpx2.TransportError as error:
            raise _unreachable(error) from None
        except TimeoutError:
            raise Silent from None
        if not response.is_success:
            raise _refusal(response.status_code, body)
        try:
            return shapes.read(method, path, body)
        except shapes.OddShapeError as odd:
            raise OddAnswer(f"{method} {path}", str(odd)) from None
        except ValueError:
            raise Refused(response.status_code, "", "its answer is not JSON") from None


async def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise TooLarge
    return bytes(body)


async def _events(response: httpx2.Response) -> AsyncIterator[ServerEvent]:
    """Parse the stream: one line `data: {json}` an event. Anything else is skipped."""
    async for line in response.aiter_lines():
        if not line.startswith("data:") or len(line) > EVENT_LIMIT:
            continue
        try:
            frame = json.loads(line[5:])
        except ValueError:
            continue
        if isinstance(frame, dict) and isinstance(frame.get("properties"), dict):
            yield ServerEvent(str(frame.get("type")), frame["properties"])


def _unreachable(error: httpx2.TransportError) -> Unreachable:
    if isinstance(error, NothingSentError):
        return Unreachable(str(error), sent=False)
    sent = not isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout))
    if sent and isinstance(error, httpx2.TimeoutException):
        return Silent()
    reason = "no answer in time" if isinstance(error, httpx2.TimeoutException) else type(error).__name__
    return Unreachable(reason, sent=sent)


def _refusal(status: int, body: bytes) -> Refused:
    """Read OpenCode's `{"name", "data": {"message"}}` and its newer `{"_tag", "message"}`."""
    try:
        said = shapes.record(shapes.decode(body))
    except ValueError:
        said = {}
    data = shapes.record(said.get("data"))
    name = str(said.get("name") or said.get("_tag") or "")
    message = data.get("message") or said.get("message") or ""
    if name.startswith("Config"):
        message = _broken(data)
    return Refused(status, name, str(message)[:1000])


def _broken(data: Mapping[str, Any]) -> str:
    """Say which configuration is broken, where and why; none of its text, which may hold keys of model providers."""
    where = str(data.get("path") or "")
    if line := re.search(r"^\w+ at line (\d+), column \d+$", str(data.get("message") or ""), re.MULTILINE):
        where += f", line {line[1]}"
    return "; ".join([where, *(_issue(one) for one in shapes.records(data.get("issues"))[:5])])


def _issue(issue: Mapping[str, Any]) -> str:
    path = issue.get("path")
    why, _, _ = str(issue.get("message") or "").partition(", got ")  # what it got is a value of the file
    return f"{'.'.join(map(str, path if isinstance(path, list) else ()))}: {why[:200]}"


def _explain(status: int, name: str, message: str) -> str:
    said = f"{name}: {message}".strip(": ") or f"HTTP {status}"
    if status == httpx2.codes.UNAUTHORIZED:
        return "cannot use the OpenCode server: it refuses the bridge's password; restart the project's services"
    if status == httpx2.codes.NOT_FOUND:
        return f"cannot find it ({said}): list what there is and use an id from there"
    if name.startswith("Config"):
        return f"cannot use the project: its OpenCode configuration is broken ({said}); fix opencode.json and restart"
    return f"cannot do that, says OpenCode ({said})"
