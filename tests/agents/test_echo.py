"""The echo agent passes the contract: a second kind needs its package and a line of the registry."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import httpx2
import pytest

from reconciler.agents.base import AgentConnection, Consent, Reply
from reconciler.core import kinds
from reconciler.core import spec as specs
from reconciler.core.observed import RequestKind, Service
from reconciler.core.reasons import Reason
from reconciler.frontends.mcp import toolset
from reconciler.mcpkit.failure import ToolFailureError
from tests.agents.contract import PROBED, Asking, DriverContract
from tests.support import echo_agent
from tests.support.bridge import call
from tests.support.echo_agent import toolset as echo_tools
from tests.support.local_project import LocalProject, a_project
from tests.support.world import make_repository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from mcp import Client


@pytest.fixture(name="registered", autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.DRIVERS, "echo", kinds.Kind(echo_agent.__name__, "ECHO_.*"))


class TestEcho(DriverContract):
    kind = "echo"
    asking = (
        Asking(
            content="tea or coffee?",
            kind=RequestKind.QUESTION,
            reply=Reply(answers=(("tea",),)),
            wrong=Reply(consent=Consent.ONCE),
        ),
    )

    @pytest.fixture(name="running")
    def _running(self, tmp_path: Path, ports: tuple[range, range]) -> AbstractAsyncContextManager[LocalProject]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **PROBED}
        return a_project(tmp_path, ports, make_repository(tmp_path / "origin"), environment, kind=self.kind)

    @contextlib.asynccontextmanager
    async def at_work(self, client: Client, session_id: str) -> AsyncIterator[None]:
        await call(client, "session-message", sessionId=session_id, content="let me think...")
        yield
        await call(client, "session-abort", sessionId=session_id)


async def test_a_question_of_any_kind_of_agent_is_a_need(tmp_path: Path, ports: tuple[range, range]) -> None:
    """Seen by the engine's own probes, through the driver."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPENCODE_MANAGER_LIVENESS": "0.2"}
    origin = make_repository(tmp_path / "origin")
    async with a_project(tmp_path, ports, origin, environment, kind="echo") as project:
        for service in Service:
            await project.start(service)
        async with project.client() as client:
            made = await call(client, "session-create")
            await call(client, "session-message", sessionId=made["sessionId"], content="tea or coffee?")
        facts = await project.until(lambda facts: bool(facts.agent.probe.attention))

    assert [one.reason for one in facts.agent.probe.attention] == [Reason.WAITING_FOR_ANSWER]


def test_an_unknown_kind_is_refused_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is registered."""
    with pytest.raises(specs.SpecError, match=r"cannot accept 'agent\.kind': use 'echo' or 'opencode'"):
        specs.parse({"git": {"url": "/srv/x"}, "agent": {"kind": "gemini"}})
    monkeypatch.delitem(kinds.DRIVERS, "echo")
    with pytest.raises(specs.SpecError, match=r"cannot accept 'agent\.kind': use 'opencode'$"):
        specs.parse({"git": {"url": "/srv/x"}, "agent": {"kind": "echo"}})


async def test_at_the_one_address_a_call_does_what_the_kind_of_its_agent_says(tmp_path: Path) -> None:
    """A tool that another kind has is refused in words."""
    way = AgentConnection(
        project="app",
        repo=tmp_path,
        url="http://127.0.0.1:1",
        authorization={},
        transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json={"echo": "1.0"})),
        stopping=asyncio.Event(),
        secrets=(),
    )
    agent = echo_tools.connect(way)
    tools = {tool.name: tool for tool in toolset.every()}

    answer = await tools["opencode-server-health"].function(agent)
    with pytest.raises(ToolFailureError, match=r"cannot use opencode-vcs-diff .* its agent is of kind echo"):
        await tools["opencode-vcs-diff"].function(agent)

    assert answer.structured_content == {"project": "app", "healthy": True, "version": "1.0"}
    await agent.close()
