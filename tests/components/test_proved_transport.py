"""The bridge's connections: proved before and after they are made, and errors as httpx2 has them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpcore2
import httpx2
import pytest

from reconciler.engines.local.processes import listener
from reconciler.engines.local.proved_transport import ProvedTransport, dial
from reconciler.mcpkit.failure import NothingSentError
from tests.engines.local.test_http1 import saying
from tests.support.opencode import free_port
from tests.support.runs import record_leader
from tests.support.strangers import a_stranger, an_agent

if TYPE_CHECKING:
    from pathlib import Path

    from httpcore2 import AsyncNetworkStream

SECRET = {"authorization": "Bearer geheim"}


async def test_a_port_that_changes_hands_while_it_is_connected_to_is_sent_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent was proved, ends, and a stranger takes the connection."""
    port, connect = free_port(), httpcore2.AnyIOBackend.connect_tcp
    with ExitStack() as stack:
        agent = ExitStack()
        agent.enter_context(an_agent(port, tmp_path))

        async def late(*arguments: Any) -> AsyncNetworkStream:
            agent.close()
            strangers.append(stack.enter_context(a_stranger(port, tmp_path, "geheim")))
            return await connect(*arguments)

        strangers: list[Any] = []
        monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", late)
        async with httpx2.AsyncClient(transport=ProvedTransport(tmp_path, "agent", port)) as client:
            with pytest.raises(NothingSentError, match="changed hands; nothing was sent"):
                await client.get(f"http://127.0.0.1:{port}/", headers=SECRET)

        assert strangers[0].heard() == b""


async def test_a_connection_for_another_protocol_is_proved_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leads to the agent, or is not made: also where the port changes hands meanwhile."""
    port, prove = free_port(), listener.proved
    with pytest.raises(OSError, match=f"nobody listens on its port {port}"):
        await dial(tmp_path, "agent", port)
    with ExitStack() as stack:
        agent = ExitStack()
        agent.enter_context(an_agent(port, tmp_path))
        with await dial(tmp_path, "agent", port) as made:
            assert made.getpeername() == ("127.0.0.1", port)

        def proved(*place: Any) -> Any:
            found = prove(*place)
            agent.close()
            strangers.append(stack.enter_context(a_stranger(port, tmp_path, "geheim")))
            return found

        strangers: list[Any] = []
        monkeypatch.setattr(listener, "proved", proved)
        with pytest.raises(OSError, match="changed hands; nothing was sent"):
            await dial(tmp_path, "agent", port)

        assert strangers[0].heard() == b""


async def test_nobody_there_is_reported(tmp_path: Path) -> None:
    """As what it is."""
    port = free_port()
    async with httpx2.AsyncClient(transport=ProvedTransport(tmp_path, "agent", port)) as client:
        with pytest.raises(NothingSentError, match=f"nobody listens on its port {port}"):
            await client.get(f"http://127.0.0.1:{port}/", headers=SECRET)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", httpx2.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", httpx2.RemoteProtocolError),
    ],
)
async def test_what_is_no_answer_is_an_error_of_httpx2(
    tmp_path: Path, said: bytes, error: type[httpx2.TransportError]
) -> None:
    """Before the head and in the body alike."""
    record_leader(tmp_path)
    async with (
        saying(said) as (port, _),
        httpx2.AsyncClient(transport=ProvedTransport(tmp_path, "agent", port)) as client,
    ):
        with pytest.raises(error):
            await client.get(f"http://127.0.0.1:{port}/", headers=SECRET)


async def test_an_answer_that_does_not_come_is_an_error_of_httpx2(tmp_path: Path) -> None:
    """Of the kind that says that the request was taken."""
    record_leader(tmp_path)
    async with saying(open_after=True) as (port, _):
        transport = ProvedTransport(tmp_path, "agent", port)
        async with httpx2.AsyncClient(transport=transport, timeout=httpx2.Timeout(60, read=0.05)) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(f"http://127.0.0.1:{port}/", headers=SECRET)


@pytest.mark.parametrize("name", [name for name in dir(httpcore2) if name.endswith(("Error", "Timeout"))])
def test_httpx2_has_each_error_of_the_library_below_it(name: str) -> None:
    """By the same name."""
    assert issubclass(getattr(httpx2, name), httpx2.TransportError)
