"""Listen to the event stream of each agent, so that what happens in it is seen at once.

Level-triggered: an event only says that the agent is to be probed now, and the probes made every so often are the net.
What is sent while an agent talks (`message.part.delta`, many times a second) is searched for a few bytes and dropped:
no HTTP parser, no JSON, nobody woken. Where an event is torn by the transfer encoding, the next probe finds what it
meant.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from reconciler.core import restarts
from reconciler.engines.local.health import http1
from reconciler.engines.local.processes.listener import NotProvedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.agents.base import EventFeed
    from reconciler.core.observed import Service
    from reconciler.engines.local.health.http1 import Call

    Key = tuple[str, Service]

log = structlog.stdlib.get_logger(__name__)

OPENING: Final = 10.0
"""Seconds to connect and to get the head of the answer."""
STABLE: Final = 60.0
"""Seconds after which a stream that is lost is opened again at once."""
MOST: Final = 200
"""Streams at once: each is a descriptor, and a process may have 1024. Other agents are probed every so often."""
_SORT: Final = b"text/event-stream"
_LONGEST_HEAD: Final = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class _Open:
    """A stream that is open or being opened."""

    run_id: str
    task: asyncio.Task[bool]
    since: float


class EventStreams:
    """The event streams of all agents that are ready. Must be made inside a running event loop.

    Args:
        news: called with an agent that is to be probed now.
    """

    def __init__(self, news: Callable[[Key], None]) -> None:
        self._news = news
        self._loop = asyncio.get_running_loop()
        self._open: dict[Key, _Open] = {}
        self._failures: dict[Key, int] = {}
        """Streams of an agent that were lost in a row."""
        self._again: dict[Key, asyncio.TimerHandle] = {}
        self._without: dict[Key, str] = {}
        """Runs that answer and have no stream."""

    def wants(self, key: Key, run_id: str) -> bool:
        """Tell whether a stream of this run is to be opened now."""
        if (known := self._open.get(key)) is not None:
            if known.run_id == run_id:
                return False
            self.forget(key)
        return key not in self._again and self._without.get(key) != run_id and len(self._open) < MOST

    def listen(self, key: Key, run_id: str, call: Call, feed: EventFeed) -> None:
        """Open a stream of an agent that has just been proved; `call` names the proof."""
        task = self._loop.create_task(self._follow(key, call, feed), name=f"events of {key[0]}")
        self._open[key] = _Open(run_id=run_id, task=task, since=self._loop.time())
        task.add_done_callback(lambda done: self._lost(key, done))

    def forget(self, key: Key) -> None:
        """Let go of the stream of an agent that ends."""
        self._failures.pop(key, None)
        self._without.pop(key, None)
        if timer := self._again.pop(key, None):
            timer.cancel()
        if stream := self._open.pop(key, None):
            stream.task.cancel()

    def close(self) -> None:
        """Let go of all."""
        for key in {*self._open, *self._again}:
            self.forget(key)

    async def _follow(self, key: Key, call: Call, feed: EventFeed) -> bool:
        """Return when the stream has ended, whatever ended it; True: the agent has none."""
        with contextlib.suppress(OSError, NotProvedError, TimeoutError), contextlib.ExitStack() as stack:
            connected = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            async with asyncio.timeout(OPENING):
                await http1.connect(connected, call)
            stack.pop_all()  # from here on the transport closes it
            reader = _FeedReader(feed, lambda: self._news(key))
            transport, _ = await self._loop.create_connection(lambda: reader, sock=connected)
            try:
                transport.write(http1.request(call))
                return await reader.ended
            finally:
                transport.abort()
        return False

    def _lost(self, key: Key, task: asyncio.Task[bool]) -> None:
        """Have the agent probed a little later: if it is ready, the probe opens another stream."""
        stream = self._open.get(key)
        if stream is None or stream.task is not task or task.cancelled():
            return  # it was let go of
        del self._open[key]
        if error := task.exception():
            log.error("event stream failed", project=key[0], exc_info=error)
        elif task.result():
            self._without[key] = stream.run_id
            return
        lasted = self._loop.time() - stream.since >= STABLE
        failures = self._failures[key] = 0 if lasted else self._failures.get(key, 0) + 1
        after = max(restarts.BASE, restarts.delay(failures, f"{key[0]}{failures}"))
        self._again[key] = self._loop.call_later(after, self._retry, key)

    def _retry(self, key: Key) -> None:
        del self._again[key]
        self._news(key)


class _FeedReader(asyncio.Protocol):
    """Reads one stream.

    Args:
        feed: which bytes are news.
        news: called when they come, and once when the stream is open: what happened before was not heard.
    """

    def __init__(self, feed: EventFeed, news: Callable[[], None]) -> None:
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._feed = feed
        self._news = news
        self._overlap = max(map(len, feed.news)) - 1
        self._loop = asyncio.get_running_loop()
        self._head: bytes | None = b""
        """What there is of the head of the answer; None once it was read."""
        self._rest = b""
        """The end of what was searched: an event may come in two pieces."""
        self._heard = self._loop.time()
        self._watch = self._loop.call_later(OPENING, self._check)

    def data_received(self, data: bytes) -> None:
        """Search what arrives."""
        self._heard = self._loop.time()
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                if len(head) > _LONGEST_HEAD:
                    self._end()
                return
            self._head = None
            found = head.split(b"\r\n", 1)[0].split(b" ")[1:2] == [b"200"]
            if not found or _SORT not in head.lower():
                self._end(without=found)
                return
            self._news()
        text = self._rest + data
        if any(news in text for news in self._feed.news):
            self._rest = b""
            self._news()
        else:
            self._rest = text[-self._overlap :]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  whatever the reason
        """The agent has closed it."""
        self._end()

    def _check(self) -> None:
        """End a stream on which nothing comes any more: cheaper than a timer that is set at each byte."""
        limit = OPENING if self._head is not None else self._feed.silence
        left = self._heard + limit - self._loop.time()
        if left <= 0:
            self._end()
        else:
            self._watch = self._loop.call_later(left, self._check)

    def _end(self, *, without: bool = False) -> None:
        self._watch.cancel()
        if not self.ended.done():
            self.ended.set_result(without)
