"""While an agent is down anybody may listen on its port: no bridge and no router sends a password there.

The clients are the product's own, in this process; the stranger is a process of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.agents.opencode.agent import OpenCodeAgent
from reconciler.agents.opencode.api import AgentError
from reconciler.bridge import guard
from reconciler.bridge.config import Config, from_environment
from reconciler.settings import Home
from tests.e2e.test_router_resolve import Shelf
from tests.support.bridge import TOKEN, Bridge, connect
from tests.support.opencode import PASSWORD, free_port
from tests.support.runs import record_leader
from tests.support.strangers import ANYWHERE, a_stranger, an_agent

if TYPE_CHECKING:
    from pathlib import Path


REFUSAL = r"cannot reach the OpenCode server .*nothing was sent"


def configured(place: Path, port: int) -> Config:
    """A bridge whose agent is expected on this port."""
    bridge = Bridge(agent_url=f"http://127.0.0.1:{port}", repo=place / "repo", log=place / "log")
    return from_environment(bridge.environment())


@ANYWHERE
async def test_the_open_health_page_sends_no_password(tmp_path: Path, address: str) -> None:
    """Anybody may ask for it; who refuses us without a password is up."""
    port = free_port()
    with a_stranger(port, tmp_path, PASSWORD, TOKEN, address=address) as stranger:
        answer, _ = await guard.Reach(configured(tmp_path, port)).look()

        assert stranger.heard().startswith(b"GET /global/health")
    assert answer == "reachable"


@ANYWHERE
async def test_a_tool_call_sends_a_stranger_nothing(tmp_path: Path, address: str) -> None:
    """Neither the call nor the event stream, and the caller is told why."""
    port = free_port()
    api = connect(configured(tmp_path, port))
    with a_stranger(port, tmp_path, PASSWORD, address=address) as stranger:
        with pytest.raises(AgentError, match=REFUSAL):
            await api.get("/session")
        with pytest.raises(AgentError, match=REFUSAL):
            async with api.events():
                pass

        assert stranger.heard() == b""
    await api.close()


async def test_after_a_stranger_the_agent_is_talked_to_again(tmp_path: Path) -> None:
    """By the same client, which keeps nothing that was proved of a run that is over."""
    port, run_dir = free_port(), record_leader(tmp_path / "run")
    api = connect(configured(tmp_path, port))
    with an_agent(port, run_dir) as agent:
        await api.get("/session")
        first = agent.heard()
    with a_stranger(port, tmp_path, PASSWORD) as stranger:
        with pytest.raises(AgentError, match=REFUSAL):
            await api.get("/session")
        assert stranger.heard() == b""
    with an_agent(port, run_dir) as agent:
        await api.get("/session")
        assert agent.heard() == first * 2
    await api.close()

    assert b"authorization: basic" in first.lower()


async def test_a_call_through_the_one_address_sends_a_stranger_nothing(tmp_path: Path) -> None:
    """Though the index still says that the agent runs: nobody has noticed yet that it is gone."""
    port, shelf = free_port(), Shelf(Home(tmp_path / "home"))
    shelf.publish("blue", port)
    shelf.secrets("blue", f"OPENCODE_SERVER_PASSWORD={PASSWORD}\nMCP_TOOL_BEARER_TOKEN={TOKEN}\n")
    async with shelf.router.open(None):
        with an_agent(port, shelf.home.sandbox("blue").run):
            agent = await shelf.router.resolve("blue")
        assert isinstance(agent, OpenCodeAgent)
        with a_stranger(port, tmp_path, PASSWORD, TOKEN) as stranger:
            with pytest.raises(AgentError, match=REFUSAL):
                await agent.opencode.get("/session")

            assert stranger.heard() == b""
    shelf.lock.close()


@ANYWHERE
async def test_a_stranger_that_shares_the_port_with_the_agent_hears_nothing(tmp_path: Path, address: str) -> None:
    """As one user's sockets can: nobody knows whom a connection would reach, until the agent is alone again."""
    port, run_dir = free_port(), record_leader(tmp_path / "run")
    api = connect(configured(tmp_path, port))
    with an_agent(port, run_dir) as agent:
        with a_stranger(port, tmp_path, PASSWORD, address=address) as stranger:
            with pytest.raises(AgentError, match=REFUSAL):
                await api.get("/session")
            assert (stranger.heard(), agent.heard()) == (b"", b"")
        await api.get("/session")
        assert agent.heard()
    await api.close()
