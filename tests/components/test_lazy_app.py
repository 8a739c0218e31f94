"""The late start of what serves MCP: a failure is an error for those who wait, and the next request tries again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.mcpkit.lazy_app import Loader
from reconciler.system.aio import failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from reconciler.mcpkit.http_guard import App, Receive, Scope, Send


class Part:
    """A fake of what serves MCP: it fails as long as there is an error, and dies when it is told."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.dies, self.died = asyncio.Event(), asyncio.Event()
        self.lives = 0

    @contextlib.asynccontextmanager
    async def bring(self) -> AsyncIterator[App]:
        if self.error:
            raise self.error
        self.lives += 1
        async with asyncio.TaskGroup() as group:
            death = group.create_task(self._die())
            yield answer
            death.cancel()

    async def _die(self) -> None:
        await self.dies.wait()
        raise RuntimeError("died")


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def ask(loader: Loader) -> tuple[int, str]:
    """The status and the body of an answer."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("the body was read")

    async with asyncio.timeout(30):
        await loader({"type": "http"}, receive, send)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent).decode()


@contextlib.asynccontextmanager
async def running(part: Part) -> AsyncIterator[tuple[Loader, list[str]]]:
    reports: list[str] = []

    def report(problem: str) -> None:
        reports.append(problem)
        if problem:
            part.died.set()

    loader = Loader(part.bring, report)
    async with asyncio.TaskGroup() as group:
        group.create_task(loader.run())
        yield loader, reports
        loader.close()


@pytest.mark.parametrize(
    "error",
    [ImportError("no library"), SystemExit(3), MemoryError(), ExceptionGroup("", [OSError(24, "Too many open files")])],
    ids=repr,
)
async def test_all_who_wait_get_the_error_and_the_next_loads_it(error: BaseException) -> None:
    part = Part()
    part.error = error
    async with running(part) as (loader, reports):
        for status, body in await asyncio.gather(ask(loader), ask(loader), ask(loader)):
            assert status == 503
            assert json.loads(body)["error"]["message"].startswith("cannot load what serves MCP: ")
        assert not loader.loaded
        part.error = None
        assert await ask(loader) == (200, "")
        assert loader.loaded

    assert reports[-1] == ""
    assert all(report.startswith("cannot load what serves MCP: ") for report in reports[:-1])


async def test_what_dies_later_is_loaded_again() -> None:
    part = Part()
    async with running(part) as (loader, _):
        assert await ask(loader) == (200, "")
        part.dies.set()
        await part.died.wait()
        part.dies.clear()
        assert await ask(loader) == (200, "")

    assert part.lives == 2


async def test_nobody_asks_and_nothing_is_loaded() -> None:
    part = Part()
    async with running(part):
        pass

    assert part.lives == 0


async def test_a_cancellation_reaches_what_runs_and_is_raised() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(failure(work()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
