"""Real MCP clients of a world's controller, and what is asked of it over plain HTTP.

It finds the endpoint and its token, connects in either era of the protocol, and collects progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from reconciler.state import published
from tests.support.bothforms import check_both_forms
from tests.support.world import PATIENCE, a_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from mcp_types import CallToolResult

    from tests.support.world import World

SILENCE = 60.0
"""Seconds after which many clients give up on a call that says nothing."""
ERAS = ("auto", "legacy")
"""2026-07-28, and the handshake before it."""


def fix_port(world: World) -> None:
    """Let this world's controllers serve on one port, whichever is restarted, that goes with its share of the others.

    It is below what the system gives to clients by itself, so that nobody takes it between two controllers.
    """
    first, _, _ = world.environment["OPENCODE_MANAGER_AGENT_PORTS"].partition("-")
    world.environment["OPENCODE_MANAGER_PORT"] = str(int(first) + 6000)


def serving(world: World) -> int:
    """Start a controller and wait until it serves; its port."""
    controller = world.start()

    def port() -> int:
        index = published.read(world.home)
        mine = index.running and index.controller and index.controller.pid == controller.pid
        return index.controller.http_port if mine and index.controller else 0

    return world.until(port, "the MCP endpoint")


def token(world: World) -> str:
    """The token of the world's endpoint."""
    return world.home.controller.joinpath("token").read_text().strip()


@contextlib.asynccontextmanager
async def reach(
    url: str, bearer: str, mode: str = "auto", patience: float = SILENCE, **options: Any
) -> AsyncIterator[Client]:
    """A client of an endpoint that is let in."""
    headers = {"Authorization": f"Bearer {bearer}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=patience) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **options) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def connect(world: World, port: int, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
    """A client of the world's controller."""
    async with reach(f"http://127.0.0.1:{port}/mcp", token(world), mode, **options) as client:
        yield client


class Notices:
    """Progress as a client hears it."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, float, str]] = []
        self.first = asyncio.Event()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.heard.append((time.monotonic(), progress, message or ""))
        assert total is not None
        self.first.set()

    @property
    def numbers(self) -> list[float]:
        return [number for _, number, _ in self.heard]


def start_arguments(world: World, name: str, seconds: float = PATIENCE) -> dict[str, Any]:
    return {"project_name": name, "git_url": str(world.origin), "wait_seconds": seconds}


def said(answer: CallToolResult) -> str:
    """The text for the model."""
    return "\n".join(part.text for part in answer.content if part.type == "text")


def fields(answer: CallToolResult) -> dict[str, Any]:
    """The part for programs. Whatever was called, its answer must say what to do in both forms."""
    assert answer.structured_content is not None, said(answer)
    check_both_forms(answer)
    return dict(answer.structured_content)


@pytest.fixture(name="served", scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]) -> Iterator[tuple[World, int]]:
    """One controller for all tests that do it no harm."""
    with a_world(tmp_path_factory.mktemp("served"), ports) as world:
        yield world, serving(world)


def assert_nowhere(world: World, needle: str) -> None:
    """No file below the world holds it, the token's own excepted."""
    own = world.home.controller / "token"
    for path in world.root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path != own:
            assert needle.encode() not in path.read_bytes(), path
