"""Requests as they pass the proxy: byte by byte, one at a time, and never two where one was meant."""

from __future__ import annotations

import asyncio
import gzip
import logging
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.frontends.web.proxy import app, forward
from reconciler.mcpkit import quiet_server
from tests.support.webstage import NAME, PATIENCE, Reply, Stage, a_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BYTES = bytes(range(256)) * 4096
"""A megabyte of every byte there is."""
HIDDEN = b"GET /hidden HTTP/1.1\r\nhost: %b\r\n\r\n"


@pytest.fixture(name="stage")
async def _stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with a_stage(tmp_path) as stage:
        yield stage


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


# -- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [BYTES, b"x", b"\r\n\r\n", gzip.compress(BYTES)], ids=["long", "byte", "lines", "gzip"]
)
async def test_bodies_pass_untouched_in_both_directions(stage: Stage, body: bytes) -> None:
    """With a length, and in chunks."""
    cookie = await stage.enter()
    whole = await stage.ask("/", "POST", body, cookie=cookie)
    parts = stage.request("/", "PUT", cookie=cookie, transfer_encoding="chunked") + chunked(body[:7], body[7:] or b"-")
    in_parts = Reply.of(await stage.raw(parts))

    assert (whole.body, in_parts.body) == (body, body[:7] + (body[7:] or b"-"))
    assert [one[3] for one in stage.agent.heard] == [body, in_parts.body]


async def test_a_body_that_is_announced_is_asked_for(stage: Stage) -> None:
    """`Expect` is answered here."""
    cookie = await stage.enter()
    raw = await stage.raw(stage.request("/", "POST", b"abc", cookie=cookie, expect="100-continue"))

    assert raw.startswith(b"HTTP/1.1 100 ")
    assert raw.endswith(b"abc")
    assert stage.agent.header("expect") == []


async def test_what_is_too_large_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its length, and by what comes."""
    monkeypatch.setattr(forward, "BODY_LIMIT", 1000)
    cookie = await stage.enter()
    announced = stage.request("/", "POST", cookie=cookie, content_length="1001")
    coming = stage.request("/", "POST", cookie=cookie, transfer_encoding="chunked") + chunked(b"x" * 600, b"x" * 600)

    for sent in (announced, coming, announced.replace(b"1001", b"9" * 15)):
        assert Reply.of(await stage.raw(sent)).status == 413
    assert (await stage.ask("/", "POST", b"x" * 1000, cookie=cookie)).status == 200


async def test_a_body_that_does_not_come_is_not_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is let go of too."""
    monkeypatch.setattr(forward, "SLOWEST", 0.05)
    cookie = await stage.enter()
    sent = stage.request("/", "POST", cookie=cookie, content_length="10") + b"half"

    assert Reply.of(await stage.raw(sent)).status == 408
    assert stage.agent.heard == []


async def test_a_head_that_does_not_come_is_not_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first on a connection nor the next."""
    cookie = await stage.enter()
    monkeypatch.setattr(quiet_server, "HEAD", 0.05)
    first = stage.request(cookie=cookie, connection="keep-alive")

    assert await stage.raw(b"GET / HTTP/1.1\r\nhost: ") == b""
    assert (await stage.raw(first + b"GET / HTTP/1.1\r\n")).count(b"HTTP/1.1 ") == 1


# -- one request is one request ---------------------------------------------------------------------------------------


async def test_each_request_on_a_connection_is_judged_by_itself(stage: Stage) -> None:
    """Sent at once, the second without a cookie."""
    cookie = await stage.enter()
    first = stage.request("/first", cookie=cookie, connection="keep-alive")
    raw = await stage.raw(first + stage.request("/second"))

    assert [answer[:3] for answer in raw.split(b"HTTP/1.1 ")[1:]] == [b"200", b"401"]
    assert [one[1] for one in stage.agent.heard] == [b"/first"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content_length": "4", "transfer_encoding": "chunked"}, b"0\r\n\r\n"),
        ({"content_length": "0", "transfer_encoding": "chunked"}, b"0\r\n\r\n"),
        ({"content_length": "5, 50"}, b"12345"),
        ({"content_length": "+5"}, b"12345"),
        ({"content_length": "-1"}, b""),
        ({"transfer_encoding": "identity, chunked"}, b"0\r\n\r\n"),
        ({"transfer_encoding": "xchunked"}, b"0\r\n\r\n"),
        ({"transfer_encoding": "chunked"}, b"0x5\r\n12345\r\n0\r\n\r\n"),
        ({"transfer_encoding": "chunked"}, b"-1\r\n\r\n"),
        ({"x_bad": "a\x00b"}, b""),
        ({"x": "1\r\n folded"}, b""),
        ({"host": "demo.localhost\r\nhost: evil.example"}, b""),
        ({"transfer_encoding ": "chunked"}, b"0\r\n\r\n"),
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_hides_no_other(
    stage: Stage, headers: dict[str, Any], body: bytes
) -> None:
    """It is refused, or read as one; what comes behind it has no cookie and reaches nobody."""
    cookie = await stage.enter()
    smuggled = HIDDEN % stage.host.encode()
    sent = stage.request("/", "POST", cookie=cookie, connection="keep-alive", **headers) + body + smuggled
    raw = await stage.raw(sent + smuggled)

    assert b"/hidden" not in {one[1] for one in stage.agent.heard}
    assert raw.split()[1] in {b"200", b"400"}
    assert all(code in {b"400", b"401"} for code in [part.split()[0] for part in raw.split(b"HTTP/1.1 ")[2:]])


async def test_a_body_is_never_read_as_a_request(stage: Stage) -> None:
    """Of a request that is let through it is the body; of one that is refused it goes with the connection."""
    cookie, smuggled = await stage.enter(), b"GET /hidden HTTP/1.1\r\nhost: %b\r\ncookie: %b\r\n\r\n"
    smuggled %= (stage.host.encode(), cookie.encode())
    for sent in (cookie, "ocm=none"):
        end = stage.request()  # has no cookie, so that the connection ends
        raw = await stage.raw(stage.request("/", "POST", smuggled, cookie=sent, connection="keep-alive") + end)
        assert raw.count(b"HTTP/1.1 ") == 1 + (sent == cookie)

    assert [one[1] for one in stage.agent.heard] == [b"/"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "http://127.0.0.1:1/x", 400),
        ("OPTIONS", "*", 400),
        ("CONNECT", "127.0.0.1:1", 400),
        ("TRACE", "/", 405),
        ("EVIL", "/", 405),
        ("GET", "/a%0d%0aset-cookie:%20x/../b;c?d=%00#", 200),
        ("GET", "//evil.example/", 200),
    ],
)
async def test_only_paths_pass_and_as_they_are(stage: Stage, method: str, target: str, status: int) -> None:
    """No other address, no other method; nothing is decoded."""
    cookie = await stage.enter()
    reply = await stage.ask(target, method, cookie=cookie)

    assert reply.status == status, reply
    assert [one[1].decode() for one in stage.agent.heard] == ([target] if status == 200 else [])


async def test_nobody_says_to_the_agent_who_asks(stage: Stage) -> None:
    """Nothing that is meant for the next hop alone, or that a proxy before us would say."""
    names = ["x_forwarded_for", "x_forwarded_host", "forwarded", "proxy_authorization", "te", "keep_alive", "x_hop"]
    headers = dict.fromkeys(names, "1") | {
        "connection": "close, x-hop, content-length",
        "origin": f"http://{stage.host}",
    }
    cookie = await stage.enter()
    await stage.ask("/", "POST", b"abc", cookie=cookie, x_kept="yes", **headers)

    heard = {name.decode() for name, _ in stage.agent.heard[-1][2]}
    assert heard == {"host", "x-kept", "content-length", "authorization"}
    assert stage.agent.heard[-1][3] == b"abc"


# -- streams ----------------------------------------------------------------------------------------------------------


async def begin(stage: Stage, cookie: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream whose first event has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(stage.request("/stream", cookie=cookie))
    await reader.readuntil(b"data: one\n\n")
    return reader, writer


async def test_an_event_stream_passes_as_it_comes(stage: Stage) -> None:
    """Each event at once, and the end as an end."""
    reader, writer = await begin(stage, await stage.enter())
    stage.agent.more.set()

    assert await reader.read() == b"\r\nb\r\ndata: two\n\n\r\n0\r\n\r\n"
    writer.close()


async def test_a_stream_that_breaks_off_breaks_off(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Half of an answer is not shown as the whole; it is no error of ours."""
    cookie = await stage.enter()
    caplog.set_level(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(lambda record: "not completed" not in str(record.msg))
    reader, writer = await begin(stage, cookie)
    stage.agent.cut.set()

    assert await reader.read() == b"\r\n"
    assert (await stage.ask(cookie=cookie)).status == 200
    assert caplog.records == []
    writer.close()


async def test_a_browser_that_leaves_leaves_nothing_open(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's side ends with it."""
    monkeypatch.setattr(app, "MOST", 1)
    cookie = await stage.enter()
    _, writer = await begin(stage, cookie)
    busy = await stage.ask(cookie=cookie)
    assert (busy.status, busy.headers["retry-after"]) == (503, "2")
    writer.close()
    async with asyncio.timeout(PATIENCE):
        await stage.agent.left.wait()
    assert (await stage.ask(cookie=cookie)).status == 200


async def test_a_stream_ends_when_its_browser_is_let_out(stage: Stage) -> None:
    """What comes then is not handed on."""
    reader, writer = await begin(stage, await stage.enter())
    stage.sessions.revoke(NAME)
    stage.agent.more.set()

    assert await reader.read() == b"\r\n"
    writer.close()


async def test_a_stream_ends_with_the_controller(stage: Stage) -> None:
    """At once: a browser comes back by itself."""
    reader, writer = await begin(stage, await stage.enter())
    stage.stop.set()

    assert await reader.read() == b"\r\n"
    writer.close()


async def test_only_so_many_connections_are_held(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond are dropped; when others have gone there is room again."""
    monkeypatch.setattr(quiet_server, "MOST", 8)
    cookie = await stage.enter()
    held = [await asyncio.open_connection("127.0.0.1", stage.port) for _ in range(40)]
    async with asyncio.timeout(PATIENCE):
        ended = {asyncio.create_task(reader.read()) for reader, _ in held}
        while len(dropped := {task for task in ended if task.done()}) < 32:
            await asyncio.wait(ended - dropped, return_when=asyncio.FIRST_COMPLETED)
    assert len(dropped) == 32
    for _, writer in held:
        writer.close()
    await asyncio.wait(ended)
    assert [task.exception() for task in ended if task.exception() and not isinstance(task.exception(), OSError)] == []
    assert (await stage.ask(cookie=cookie)).status == 200
