"""Streams of agents: what is news, what is passed over, and what becomes of one that ends, is silent or is none."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from reconciler.agents.base import EventFeed, Request
from reconciler.core import restarts
from reconciler.core.observed import Service
from reconciler.engines.local.health import event_streams
from reconciler.engines.local.health.event_streams import EventStreams
from reconciler.engines.local.health.http1 import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = ("app", Service.AGENT)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
DELTA = b'data: {"type":"message.part.delta","properties":{"delta":"permission.asked"}}\n\n'
ASKED = b'data: {"type":"permission.asked","properties":{}}\n\n'
PATIENCE = 60.0


class Agent:
    """A server of ours that sends what a test says, and counts who listens."""

    def __init__(self) -> None:
        self.head = HEAD
        self.listeners: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.head)
        self.listeners.put_nowait(writer)

    async def listener(self) -> asyncio.StreamWriter:
        return await asyncio.wait_for(self.listeners.get(), PATIENCE)


class Hearing:
    """Who hears of news, as the prober does: it listens again where that is wanted."""

    def __init__(self, agent: Agent, silence: float = 60.0) -> None:
        self.news: asyncio.Queue[None] = asyncio.Queue()
        self.feed = EventFeed(request=Request(path="/event"), news=(b'"type":"permission.',), silence=silence)
        self.streams = EventStreams(lambda _key: self.news.put_nowait(None))
        self.call = Call(port=agent.port, path="/event")
        self.listen()

    def listen(self) -> None:
        assert self.streams.wants(KEY, "run")
        self.streams.listen(KEY, "run", self.call, self.feed)

    async def heard(self) -> None:
        await asyncio.wait_for(self.news.get(), PATIENCE)


@pytest.fixture(name="agent")
async def _agent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    monkeypatch.setattr(restarts, "BASE", 0.01)
    agent = Agent()
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    yield agent
    server.close()
    while not agent.listeners.empty():
        agent.listeners.get_nowait().close()


@contextlib.asynccontextmanager
async def hearing(agent: Agent, silence: float = 60.0) -> AsyncIterator[tuple[Hearing, asyncio.StreamWriter]]:
    """A stream that is open."""
    ears = Hearing(agent, silence)
    writer = await agent.listener()
    try:
        yield ears, writer
    finally:
        ears.streams.close()
        writer.close()


async def test_an_event_is_heard_also_in_pieces_and_talk_is_passed_over(agent: Agent) -> None:
    """Once when it opens, for what was before."""
    async with hearing(agent) as (ears, writer):
        await ears.heard()
        for piece in (DELTA, ASKED[:20], ASKED[20:], DELTA * 100):
            writer.write(piece)
            await writer.drain()
        await ears.heard()
        writer.write(ASKED)
        await ears.heard()

        assert ears.news.empty()
        assert not ears.streams.wants(KEY, "run")


async def test_one_that_ends_is_opened_again_a_little_later(agent: Agent) -> None:
    """By the probe that it asks for."""
    async with hearing(agent) as (ears, writer):
        await ears.heard()
        writer.close()
        await ears.heard()
        ears.listen()
        (await agent.listener()).close()
        await ears.heard()


async def test_one_on_which_nothing_comes_is_given_up(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side may be gone without a word."""
    monkeypatch.setattr(event_streams, "OPENING", 0.05)
    async with hearing(agent, silence=0.05) as (ears, _writer):
        await ears.heard()
        await ears.heard()

        assert ears.streams.wants(KEY, "run")


async def test_an_agent_that_answers_with_something_else_has_none(agent: Agent) -> None:
    """It is not asked again while it runs: the probes made every so often have to do."""
    agent.head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    async with hearing(agent) as (ears, writer):
        while not writer.is_closing():
            await asyncio.sleep(0)
            with contextlib.suppress(ConnectionError):
                writer.write(b"{}")
                await writer.drain()

        assert not ears.streams.wants(KEY, "run")
        assert ears.news.empty()
        ears.streams.forget(KEY)
        assert ears.streams.wants(KEY, "run")


@pytest.mark.parametrize("head", [b"HTTP/1.1 500 Oh\r\n\r\n", b"x" * 20_000])
async def test_what_is_no_stream_is_let_go_of(agent: Agent, head: bytes) -> None:
    """And tried again later: one word, which is that of the next try."""
    agent.head = head
    async with hearing(agent) as (ears, _writer):
        await ears.heard()

        assert ears.streams.wants(KEY, "run")


async def test_another_run_has_a_stream_of_its_own(agent: Agent) -> None:
    """That of the old one is let go of; so is one whose agent ends."""
    async with hearing(agent) as (ears, _writer):
        await ears.heard()

        assert ears.streams.wants(KEY, "another run")
        ears.streams.listen(KEY, "another run", ears.call, ears.feed)
        (await agent.listener()).close()
        ears.streams.forget(KEY)
        assert ears.streams.wants(KEY, "another run")
