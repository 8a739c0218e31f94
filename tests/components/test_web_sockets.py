"""WebSockets through the proxy: messages pass in both directions, and nobody opens one who is not let in."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from reconciler.frontends.web import hosts
from tests.support.runs import record_leader
from tests.support.webstage import BASIC, NAME, Stage, a_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

PATH = "/pty/pty_1/connect?directory=%2Fa&cursor=0"


@pytest.fixture(name="stage")
async def _stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with a_stage(tmp_path) as stage:
        yield stage


@contextlib.asynccontextmanager
async def opened(
    stage: Stage, cookie: str = "", path: str = PATH, host: str = "", origin: str | None = "", **options: Any
) -> AsyncIterator[ClientConnection]:
    """A WebSocket as a browser on the page opens it."""
    own = f"http://{stage.host}"
    sock = socket.create_connection(("127.0.0.1", stage.port))
    async with connect(
        f"ws://{host or hosts.host(NAME)}:{stage.port}{path}",
        sock=sock,
        origin=own if origin == "" else origin,  # type: ignore[arg-type]  # a NewType
        additional_headers={"cookie": cookie, "authorization": "Basic bXk6b3du"},
        proxy=None,
        **options,
    ) as made:
        yield made


async def test_messages_pass_in_both_directions(stage: Stage) -> None:
    """Text and bytes, short and long; the agent hears its password, and nothing of the browser's."""
    async with opened(stage, await stage.enter(), subprotocols=["first", "second"]) as made:
        for message in ("echo hi\r", "", "ü" * 70_000, b"\x00\xff", bytes(1_000_000)):
            await made.send(message)
            assert await made.recv() == message
        assert made.subprotocol == "first"

    assert stage.agent.heard[-1][:2] == ("WEBSOCKET", PATH.encode())
    assert (stage.agent.header("authorization"), stage.agent.header("cookie")) == ([BASIC], [])
    assert stage.agent.header("origin") == []


async def test_either_side_ends_it(stage: Stage) -> None:
    """The agent with its own code; after the browser has left, the agent hears so."""
    cookie = await stage.enter()
    async with opened(stage, cookie) as made:
        await made.send("bye")
        with pytest.raises(ConnectionClosed) as ended:
            await made.recv()
    assert ended.value.rcvd is not None
    assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1000, "as you say")
    async with opened(stage, cookie) as made:
        await made.send("here")
        assert await made.recv() == "here"
    await stage.agent.left.wait()


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"cookie": "ocm=wrong"}, 401),
        ({"cookie": ""}, 401),
        ({"origin": "http://demo.localhost:3000"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1"}, 403),
        ({"host": "localhost", "path": "/mcp"}, 403),
        ({"path": "/no"}, 502),
        ({"path": "/__ocm/enter?code=1"}, 404),
    ],
)
async def test_who_is_not_let_in_opens_none(stage: Stage, options: dict[str, Any], status: int) -> None:
    """And hears the status."""
    options = {"cookie": await stage.enter()} | options
    with pytest.raises(InvalidStatus) as refused:
        async with opened(stage, **options):
            pytest.fail("it was opened")

    assert refused.value.response.status_code == status


async def test_it_ends_when_its_browser_is_let_out(stage: Stage) -> None:
    """With the next message, which reaches nobody."""
    async with opened(stage, await stage.enter()) as made:
        await made.send("one")
        assert await made.recv() == "one"
        stage.sessions.revoke(NAME)
        await made.send("two")
        with pytest.raises(ConnectionClosed) as ended:
            await made.recv()

    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1001


async def test_it_ends_with_the_controller(stage: Stage) -> None:
    """At once."""
    async with opened(stage, await stage.enter()) as made:
        stage.stop.set()
        with pytest.raises(ConnectionClosed) as ended:
            await made.recv()

    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1001


async def test_without_the_agent_none_is_opened(stage: Stage) -> None:
    """Its port is not its own any more."""
    cookie = await stage.enter()
    record_leader(stage.settings.home.sandbox(NAME).run, port=1)
    with pytest.raises(InvalidStatus) as refused:
        async with opened(stage, cookie):
            pytest.fail("it was opened")

    assert refused.value.response.status_code == 503
