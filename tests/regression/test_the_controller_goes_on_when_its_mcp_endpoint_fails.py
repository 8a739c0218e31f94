"""Whatever part of the controller's HTTP side fails: it is reported and tried again, and the controller goes on.

The faults are injected (faked) at the part's own function; the HTTP server, the clients and MCP itself are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import resource
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
import pytest
import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from reconciler import app
from reconciler.frontends.mcp import server, tools
from reconciler.mcpkit.quiet_server import QuietServer
from tests.support.fakecontroller import make_settings
from tests.support.frontends import serving, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.world import World

PATIENCE = 30.0
VERSION = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}
DISCOVER = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": META}}
"""Of the newest protocol, whose answers are no streams: their library remembers the end of an earlier server."""
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": VERSION,
    "MCP-Method": "server/discover",
}
EMFILE, ENOSPC = OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENOSPC, "No space left on device")
ODD = [ImportError("no such library"), EMFILE, ENOSPC, MemoryError(), SystemExit(3), RuntimeError("odd")]


class Fault:
    """Lets a part fail while it is on."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, name: str, error: BaseException, only: str = "") -> None:
        real = getattr(owner, name)
        self.on = True

        def part(*args: Any, **kwargs: Any) -> Any:
            if self.on and (not only or only in args):
                raise error
            return real(*args, **kwargs)

        patch.setattr(owner, name, part)


class Endpoint:
    """What the controller's task for its endpoint reports, and what a client gets."""

    def __init__(self, root: Path) -> None:
        self.settings = make_settings(root)
        self.reports: list[tuple[int, str]] = []
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def listening(self, port: int, problem: str = "") -> None:
        self.reports.append((port, problem))
        self.changed.set()

    async def until(self, wanted: Callable[[int, str], bool]) -> tuple[int, str]:
        """The last report, once it is as wanted. Fails when the task has ended instead."""
        assert self.task is not None
        async with asyncio.timeout(PATIENCE):
            while not self.reports or not wanted(*self.reports[-1]):
                change = asyncio.create_task(self.changed.wait())
                await asyncio.wait({self.task, change}, return_when=asyncio.FIRST_COMPLETED)
                assert not self.task.done(), f"it would end the controller: {self.task}"
                self.changed.clear()
        return self.reports[-1]

    async def ask(self) -> httpx2.Response:
        port, _ = await self.until(lambda port, _: port > 0)
        headers = HEADERS | {"Authorization": f"Bearer {server.token(self.settings.home)}"}
        async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http:
            return await http.post(f"http://127.0.0.1:{port}/mcp", json=DISCOVER)


@contextlib.asynccontextmanager
async def an_endpoint(root: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    patch.setattr(app, "HTTP_AGAIN", 0.02)
    endpoint, calm, stop = Endpoint(root), asyncio.Event(), asyncio.Event()
    calm.set()
    endpoint.task = asyncio.create_task(app._http(endpoint.settings, calm, stop, endpoint.listening))
    try:
        yield endpoint
    finally:
        stop.set()
        await asyncio.wait({endpoint.task}, timeout=PATIENCE)
    assert endpoint.task.done()
    assert endpoint.task.exception() is None


BEFORE_IT_LISTENS: list[tuple[Any, str, str]] = [
    (importlib, "import_module", "reconciler.frontends.mcp.server"),
    (server, "token", ""),
    (server, "_listen", ""),
    (uvicorn.Config, "__init__", ""),
    (uvicorn.Server, "startup", ""),
]


@pytest.mark.parametrize("error", ODD, ids=repr)
@pytest.mark.parametrize(("owner", "name", "only"), BEFORE_IT_LISTENS, ids=lambda one: getattr(one, "__name__", one))
async def test_an_endpoint_that_cannot_start_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, only: str, error: BaseException
) -> None:
    fault = Fault(monkeypatch, owner, name, error, only)
    async with an_endpoint(tmp_path, monkeypatch) as endpoint:
        _, problem = await endpoint.until(lambda port, problem: not port and bool(problem))
        assert problem.startswith("cannot serve MCP")
        fault.on = False
        await endpoint.until(lambda port, problem: port > 0 and not problem)
        assert (await endpoint.ask()).status_code == 200


AT_THE_FIRST_REQUEST: list[tuple[Any, str, str]] = [
    (importlib, "import_module", "reconciler.frontends.mcp.tools"),
    (tools, "make_server", ""),
    (StreamableHTTPSessionManager, "run", ""),
]


@pytest.mark.parametrize("error", ODD, ids=repr)
@pytest.mark.parametrize(("owner", "name", "only"), AT_THE_FIRST_REQUEST, ids=lambda one: getattr(one, "__name__", one))
async def test_mcp_that_cannot_be_loaded_is_an_error_for_who_waits_and_is_loaded_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, only: str, error: BaseException
) -> None:
    fault = Fault(monkeypatch, owner, name, error, only)
    async with an_endpoint(tmp_path, monkeypatch) as endpoint:
        refused = await endpoint.ask()
        assert refused.status_code == 503
        assert refused.json()["error"]["message"].startswith("cannot load")
        port, _ = await endpoint.until(lambda port, problem: port > 0 and problem.startswith("cannot load"))
        fault.on = False
        assert (await endpoint.ask()).status_code == 200
        assert await endpoint.until(lambda _, problem: not problem) == (port, "")


@pytest.mark.parametrize("error", [RuntimeError("odd"), SystemExit(3), MemoryError()], ids=repr)
async def test_a_request_that_fails_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    fault = Fault(monkeypatch, StreamableHTTPSessionManager, "handle_request", error)
    also = Fault(monkeypatch, StreamableHTTPSessionManager, "_handle_request", error)
    async with an_endpoint(tmp_path, monkeypatch) as endpoint:
        assert (await endpoint.ask()).status_code == 500
        fault.on = also.on = False
        assert (await endpoint.ask()).status_code == 200


async def test_an_http_server_that_ends_by_itself_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(_self: object) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(app, "HTTP_AGAIN", 0.02)

    monkeypatch.setattr(QuietServer, "main_loop", at_once)
    async with an_endpoint(tmp_path, monkeypatch) as endpoint:
        await endpoint.until(lambda port, problem: not port and bool(problem))
        assert (await endpoint.ask()).status_code == 200


async def test_a_real_controller_out_of_descriptors_goes_on(world: World) -> None:
    """Nothing is faked here: its limit is lowered before MCP is first asked for, and raised afterwards."""
    port = serving(world)
    controller = psutil.Process(world.controllers[0].pid)
    before = controller.rlimit(resource.RLIMIT_NOFILE)
    headers = HEADERS | {"Authorization": f"Bearer {token(world)}"}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http:
        await http.get(f"http://127.0.0.1:{port}/healthz")  # the connection is there
        controller.rlimit(resource.RLIMIT_NOFILE, (controller.num_fds(), before[1]))
        refused = await http.post(f"http://127.0.0.1:{port}/mcp", json=DISCOVER)
        controller.rlimit(resource.RLIMIT_NOFILE, before)
        answered = await http.post(f"http://127.0.0.1:{port}/mcp", json=DISCOVER)

    assert refused.status_code == 503
    assert answered.status_code == 200
    assert controller.is_running()
