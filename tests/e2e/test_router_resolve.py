"""Which agent a call through the one address is for: found again each time, and refused with a reason."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from reconciler import settings
from reconciler.agents.opencode.agent import OpenCodeAgent
from reconciler.agents.opencode.api import AgentError
from reconciler.frontends.mcp.router import Router
from reconciler.state import published
from reconciler.system.files import LockFile
from tests.support.runs import record_leader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from reconciler.agents.base import Client


class Shelf:
    """A home in which a controller seems to run, and a router on it."""

    def __init__(self, home: settings.Home) -> None:
        self.home = home
        home.controller.mkdir(parents=True)
        self.lock = LockFile(home.controller / "lock")
        self.projects: dict[str, dict[str, Any]] = {}
        self.listeners: dict[str, socket.socket] = {}
        environment = {settings.HOME_VARIABLE: str(home.root), settings.SPECS_VARIABLE: str(home.root / "specs")}
        self.router = Router(settings.load(environment=environment), asyncio.Event())

    def listen(self, name: str) -> int:
        """Have an agent, this process, listen for a project from now on."""
        self.listeners[name] = socket.create_server(("127.0.0.1", 0))
        port: int = self.listeners[name].getsockname()[1]
        record_leader(self.home.sandbox(name).run, port=port)
        return port

    def close(self) -> None:
        """End."""
        self.lock.close()
        for listener in self.listeners.values():
            listener.close()

    def publish(self, name: str, port: int = 4100, **changes: Any) -> None:
        """Publish a project that runs, or not so."""
        status = {
            "desired": "running",
            "reason": "Running",
            "message": "",
            "stalled": {"status": False, "reason": "NotStalled", "message": ""},
            "agent": {"state": "running", "port": port},
            "bridge": {"port": None},
        }
        self.projects[name] = status | changes
        self.write()

    def write(self) -> None:
        """Publish all that is known."""
        specs = str(self.home.root / "specs")
        identity = published.ControllerInfo(pid=1, specs=specs, http_port=1, started=0.0)
        published.Writer(self.home).write(identity, self.projects)

    def secrets(self, name: str, text: str) -> Path:
        """Write a `.env`."""
        path = self.home.sandbox(name).env_file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    async def refused(self, name: str) -> str:
        """Why the project cannot be reached."""
        with pytest.raises(ToolError) as caught:
            await self.router.resolve(name)
        return str(caught.value)


@pytest.fixture(name="shelf")
async def _shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    """With one project that runs."""
    shelf = Shelf(settings.Home(tmp_path / "home"))
    shelf.publish("blue")
    shelf.listen("blue")
    shelf.secrets("blue", "OPENCODE_SERVER_PASSWORD='pa$$word-of-blue'\nMCP_TOOL_BEARER_TOKEN=token-of-blue\n")
    try:
        async with shelf.router.open(None):
            yield shelf
    finally:
        shelf.close()


async def test_an_agent_is_found_with_all_that_must_stay_hidden(shelf: Shelf) -> None:
    """Its clone, its password as written, and secrets that nothing shows."""
    agent = await shelf.router.resolve("blue")

    assert isinstance(agent, OpenCodeAgent)
    assert (agent.project, agent.repo) == ("blue", shelf.home.sandbox("blue").repo)
    assert {"pa$$word-of-blue", "token-of-blue"} < set(agent.secrets)
    assert "word-of-blue" not in repr(agent)


async def test_a_client_is_kept_while_port_and_secrets_stay(shelf: Shelf) -> None:
    """And made again when one of them changes."""
    agents: list[Client] = [await shelf.router.resolve("blue") for _ in range(2)]
    shelf.listeners["blue"].close()
    shelf.listen("blue")
    agents += [await shelf.router.resolve("blue") for _ in range(2)]
    shelf.secrets("blue", "OPENCODE_SERVER_PASSWORD=another-password\n")
    agents.append(await shelf.router.resolve("blue"))

    assert agents[0] is agents[1]
    assert agents[2] is agents[3]
    assert len({id(agent) for agent in agents}) == 3
    assert "" not in agents[-1].secrets


async def test_a_call_that_waits_on_an_outdated_client_gets_an_error_about_the_agent(shelf: Shelf) -> None:
    """Not that somebody closed its client."""
    agent = await shelf.router.resolve("blue")
    shelf.listeners["blue"].close()
    shelf.listen("blue")
    await shelf.router.resolve("blue")

    assert isinstance(agent, OpenCodeAgent)
    with pytest.raises(AgentError, match="cannot reach the OpenCode server"):
        await agent.opencode.get("/session")


async def test_a_project_that_is_gone_is_forgotten(shelf: Shelf) -> None:
    """With its secrets."""
    shelf.publish("red")
    shelf.listen("red")
    shelf.secrets("red", "OPENCODE_SERVER_PASSWORD=password-of-red\n")
    await shelf.router.resolve("red")
    del shelf.projects["red"]
    shelf.write()

    await shelf.router.resolve("blue")

    assert list(shelf.router._known) == ["blue"]
    assert "cannot reach red: there is no such project" in await shelf.refused("red")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"desired": "stopped"}, "cannot reach blue: its spec wants it stopped; opencode_start starts it"),
        (
            {"stalled": {"status": True, "reason": "WaitingForKey", "message": "add the public key"}},
            "cannot reach blue: add the public key; opencode_status tells more",
        ),
        (
            {"reason": "CloneRepo", "message": "42%"},
            "cannot reach blue: its agent is stopped (CloneRepo: 42%); try again shortly, opencode_status tells more",
        ),
    ],
)
async def test_an_agent_that_is_not_ready_is_refused_with_the_reason(
    shelf: Shelf, changes: dict[str, Any], expected: str
) -> None:
    """One sentence, and what to do."""
    shelf.publish("blue", agent={"state": "stopped", "port": 4100}, **changes)

    assert await shelf.refused("blue") == expected


async def test_without_a_controller_nobody_gets_a_password(shelf: Shelf) -> None:
    """What was published may be old, and the port somebody else's by now."""
    shelf.lock.close()
    try:
        assert "no controller is running; start one with: opencode-manager run" in await shelf.refused("blue")
    finally:
        shelf.lock = LockFile(shelf.home.controller / "lock")


async def test_a_spec_nobody_has_looked_at_yet_is_no_unknown_project(shelf: Shelf) -> None:
    """It only has to be awaited."""
    specs = shelf.home.root / "specs"
    specs.mkdir()
    specs.joinpath("green.yaml").write_text("git: {url: /nowhere}\n")

    assert "the controller has not looked at its spec yet" in await shelf.refused("green")
    assert "did you mean green?" in await shelf.refused("gren")
    assert "cannot use '../blue' as a project name: " in await shelf.refused("../blue")


async def test_a_port_that_another_holds_gets_no_password(shelf: Shelf) -> None:
    """The index says that the agent runs; the listener is not its process."""
    shelf.listeners["blue"].close()
    assert "cannot reach blue: its agent does not listen now" in await shelf.refused("blue")
    port = shelf.listen("blue")
    another = await asyncio.create_subprocess_exec("sleep", "1000")
    record_leader(shelf.home.sandbox("blue").run, another.pid, port=port)
    refused = await shelf.refused("blue")
    another.kill()
    await another.wait()

    assert "cannot reach blue: its agent does not listen now" in refused


@pytest.mark.parametrize("kind", ["missing", "link", "pipe", "binary", "empty"])
async def test_an_unreadable_env_is_named_and_hangs_nobody(shelf: Shelf, kind: str) -> None:
    """And no value in it is repeated."""
    path = shelf.home.sandbox("blue").env_file
    moved = path.rename(path.with_name("moved"))
    if kind == "link":
        path.symlink_to(moved)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes(b"OPENCODE_SERVER_PASSWORD=\xff\xfe" if kind == "binary" else b"")

    refused = await shelf.refused("blue")

    assert f"cannot reach blue: {path} has no OPENCODE_SERVER_PASSWORD that can be read" in refused
    assert "opencode-manager secrets blue" in refused
