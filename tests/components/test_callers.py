"""Which client calls: those that introduce themselves once are known again, and nobody gets the name of another."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import httpx2

from reconciler.frontends.mcp import callers
from reconciler.frontends.mcp.callers import NAMELESS
from reconciler.frontends.mcp.tools import make_server
from reconciler.mcpkit import endpoint
from reconciler.specs import authors, spec_folder
from tests.support.fakecontroller import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from reconciler.mcpkit.http_guard import App
    from reconciler.settings import Settings

PORT: Final = 4099
LATEST: Final = "2026-07-28"
META: Final = "io.modelcontextprotocol"


class Caller:
    """Clients of one real server, each with the connection and the User-Agent that a test gives it."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def post(self, method: str, port: int, agent: str, headers: dict[str, str], **params: Any) -> None:
        peer: Any = httpx2.ASGITransport(app=self._app, client=("127.0.0.1", port))
        sent = {"accept": "application/json", "user-agent": agent, **headers}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with httpx2.AsyncClient(transport=peer, base_url=f"http://127.0.0.1:{PORT}") as http:
            answer = await http.post("/mcp", json=message, headers=sent)
        assert "result" in answer.json(), answer.text

    async def introduce(self, name: str, port: int, agent: str) -> None:
        about = {"name": name, "version": "1"}
        await self.post("initialize", port, agent, {}, protocolVersion="2025-06-18", capabilities={}, clientInfo=about)

    async def author(self, port: int, agent: str, headers: dict[str, str] | None = None, **params: Any) -> str:
        """Whom a call from there is written down as the work of."""
        arguments = {"project_name": "app", "wait_seconds": 0}
        await self.post(
            "tools/call", port, agent, headers or {}, name="opencode_restart", arguments=arguments, **params
        )
        written = spec_folder.expected_digest_path(self._settings.home, "app").read_text()
        author = authors.author(written)
        assert author is not None
        assert (author.via, author.detail) == ("mcp", "opencode_restart")
        return author.name


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Caller]:
    settings = make_settings(folder)
    settings.specs.mkdir()
    settings.specs.joinpath("app.yaml").write_text("git: {url: /srv/app.git}\n")
    server = make_server(settings, asyncio.Event())
    async with endpoint.serving(server, PORT) as app:
        yield Caller(app, settings)


async def test_a_client_is_known_by_its_connection(tmp_path: Path) -> None:
    """Also when others have the same User-Agent."""
    async with served(tmp_path) as caller:
        await caller.introduce("one", 1001, "node")
        await caller.introduce("two", 1002, "node")

        assert [await caller.author(port, "node") for port in (1001, 1002)] == ["one", "two"]
        await caller.introduce("three", 1001, "node")
        assert await caller.author(1001, "node") == "three"


async def test_a_client_on_another_connection_is_known_by_its_user_agent(tmp_path: Path) -> None:
    """While one name is known for it; else the User-Agent itself is all that is known."""
    async with served(tmp_path) as caller:
        await caller.introduce("one", 1001, "one/2.0 (linux)")

        assert await caller.author(1002, "one/2.0 (linux)") == "one"
        assert await caller.author(1002, "other/1.0 (linux)") == "other/1.0"
        await caller.introduce("not one", 1003, "one/2.0 (linux)")
        assert await caller.author(1004, "one/2.0 (linux)") == "one/2.0"
        assert await caller.author(1004, "") == NAMELESS


async def test_a_client_of_the_newer_protocol_names_itself(tmp_path: Path) -> None:
    """In each call, whatever was said on that connection before."""
    meta = {
        f"{META}/protocolVersion": LATEST,
        f"{META}/clientCapabilities": {},
        f"{META}/clientInfo": {"name": "new\x1b[31m\u202e" + "x" * 1000, "version": "1"},
    }
    headers = {"mcp-protocol-version": LATEST, "mcp-method": "tools/call", "mcp-name": "opencode_restart"}
    async with served(tmp_path) as caller:
        await caller.introduce("one", 1001, "node")
        name = await caller.author(1001, "node", headers, _meta=meta)

    assert name.startswith("new x")
    assert len(name) < 100
    assert name.isprintable()


async def test_only_so_many_clients_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones are forgotten."""
    monkeypatch.setattr(callers, "_MOST", 2)
    async with served(tmp_path) as caller:
        for number in (1, 2, 3):
            await caller.introduce(f"client {number}", number, f"agent/{number}")

        assert [await caller.author(number, f"agent/{number}") for number in (1, 3)] == ["agent/1", "client 3"]
