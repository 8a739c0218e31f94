"""One request to a service: whoever answers badly, late or never is told so, in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.health import http1
from reconciler.engines.local.health.http1 import Answer, Call, CallError, ask
from reconciler.engines.local.processes import listener
from tests.support.runs import record_leader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT = 60.0
"""Seconds that no test takes."""


@contextlib.asynccontextmanager
async def saying(*pieces: bytes, open_after: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says this, whatever it is asked; its port and what it heard."""
    heard: list[bytes] = []
    end = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(one[15:]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")), 0)
        heard.append(head + await reader.readexactly(length))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if open_after:
            await end.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        end.set()
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def saying_on(port: int) -> AsyncIterator[list[bytes]]:
    """Another server on a port that was just given back; all that its one client sends it."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()
        done.set()

    done = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield heard
        async with asyncio.timeout(LIMIT):
            await done.wait()
    finally:
        server.close()
        await server.wait_closed()


async def test_an_answer_in_pieces_is_put_together(tmp_path: Path) -> None:
    """However it is sent."""
    head, chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\n[1, 2\r\n1\r\n]\r\n0\r\n\r\n"
    async with saying(head[:20], head[20:] + chunks[:3], chunks[3:]) as (port, heard):
        proof = listener.proved(record_leader(tmp_path), "agent", port)
        answer = await ask(Call(port=port, path="/x?y=1", headers={"authorization": "Basic abc"}, proof=proof), LIMIT)

    assert (answer.status, answer.json()) == (200, [1, 2])
    assert heard[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
    assert b"\r\nauthorization: Basic abc\r\n" in heard[0].lower().replace(b"basic abc", b"Basic abc")


async def test_a_body_is_sent_whole() -> None:
    """With its length and kind."""
    async with saying(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, heard):
        answer = await ask(Call(port=port, path="/mcp", method="POST", body=b'{"a":1}'), LIMIT)

    assert answer == Answer(204, b"")
    assert heard[0].endswith(b'\r\n\r\n{"a":1}')
    assert b"content-type: application/json" in heard[0].lower()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "it does not answer in HTTP"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "it does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "it does not answer in HTTP"),
    ],
)
async def test_what_is_no_answer_is_reported(said: bytes, why: str) -> None:
    """Without repeating it."""
    async with saying(said) as (port, _):
        with pytest.raises(CallError, match=why):
            await ask(Call(port=port, path="/"), LIMIT)


async def test_nobody_there_is_reported(unused_tcp_port: int) -> None:
    """At once."""
    with pytest.raises(CallError, match="connection refused"):
        await ask(Call(port=unused_tcp_port, path="/"), LIMIT)


async def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_its_limit() -> None:
    """OpenCode never answers what it is asked before it is ready."""
    async with saying(open_after=True) as (port, _):
        with pytest.raises(CallError, match="no answer in time"):
            await ask(Call(port=port, path="/"), 0.05)


async def test_an_answer_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody fills our memory."""
    monkeypatch.setattr(http1, "LONGEST", 1000)
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + bytes(2000)
    async with saying(endless, open_after=True) as (port, _):
        with pytest.raises(CallError, match="does not end"):
            await ask(Call(port=port, path="/"), LIMIT)


def test_a_call_never_shows_its_secret() -> None:
    """Not in a traceback either."""
    assert "geheim" not in repr(Call(port=1, path="/", headers={"x-key": "geheim"}, body=b"geheim"))


def test_a_call_with_a_secret_must_name_who_may_have_it() -> None:
    """Nobody can forget the proof."""
    with pytest.raises(ValueError, match="cannot send a secret"):
        Call(port=1, path="/", headers={"authorization": "geheim"})


async def test_a_port_that_changed_hands_is_sent_nothing(tmp_path: Path) -> None:
    """Who was proved to listen there does so no more: the connection is made, and nothing is sent on it."""
    async with saying() as (port, _):
        proof = listener.proved(record_leader(tmp_path), "agent", port)
    async with saying_on(port) as heard:
        with pytest.raises(CallError, match="changed hands; nothing was sent"):
            await ask(Call(port=port, path="/", headers={"authorization": "geheim"}, proof=proof), LIMIT)

    assert heard == [b""]


async def test_a_server_whose_queue_is_full_is_waited_for_up_to_the_timeout() -> None:
    """The connection is then not made at once."""
    with socket.socket() as server, contextlib.ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):  # more than the kernel lets wait
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())

        with pytest.raises(CallError, match="no answer in time"):
            await ask(Call(port=server.getsockname()[1], path="/"), 0.3)
