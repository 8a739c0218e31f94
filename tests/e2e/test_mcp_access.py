"""Who may come in at the controller's MCP endpoint, and who may not."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
import pytest

from reconciler.frontends.mcp import server
from reconciler.settings import Home
from reconciler.state import published
from tests.support.frontends import _served, assert_nowhere, connect, serving, token

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

    from tests.support.world import World

__all__ = ["_served"]


async def test_an_unauthorised_client_gets_the_right_status_code(served: tuple[World, int]) -> None:
    """Host and Origin on every path, the token on /mcp, POST alone; a token has no OAuth about it."""
    world, port = served
    right = {"Authorization": f"Bearer {token(world)}"}
    cases: list[tuple[str, str, dict[str, str], int]] = [
        ("POST", "/mcp", {}, 401),
        ("POST", "/mcp", {"Authorization": "Bearer wrong"}, 401),
        ("POST", "/mcp", {"Authorization": f"Basic {token(world)}"}, 401),
        ("POST", "/mcp", {"Authorization": f"Bearer {token(world)}x"}, 401),
        ("POST", "/mcp", {"Authorization": "Bearer"}, 401),
        ("POST", "/mcp", right | {"Host": "evil.example"}, 421),
        ("GET", "/healthz", {"Host": f"evil.example:{port}"}, 421),
        ("GET", "/healthz", {"Host": f"127.0.0.1.evil.example:{port}"}, 421),
        ("GET", "/healthz", {"Host": f"localhost:{port}@evil.example"}, 421),
        ("GET", "/healthz", {"Host": "localhost:14310"}, 200),
        ("POST", "/mcp", right | {"Origin": "http://evil.example"}, 403),
        ("POST", "/mcp", right | {"Origin": "http://127.0.0.1:3000"}, 403),
        ("POST", "/mcp", right | {"Origin": "null"}, 403),
        ("GET", "/mcp", right, 405),
        ("DELETE", "/mcp", right, 405),
        ("GET", "/.well-known/oauth-protected-resource", {}, 404),
        ("GET", "/", right, 404),
        ("GET", "/healthz", {}, 200),
        ("GET", "/healthz", {"Origin": f"http://localhost:{port}"}, 200),
    ]
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        for method, path, headers, code in cases:
            answer = await http.request(method, path, headers=headers)
            assert answer.status_code == code, (method, path, answer.text)
            assert token(world) not in answer.text
            if code == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
        health = (await http.get("/healthz")).json()
    assert (health["status"], health["pid"]) == ("ok", world.controllers[0].pid)


async def test_the_endpoint_is_of_this_machine_alone(served: tuple[World, int]) -> None:
    """It listens on 127.0.0.1 and nowhere else."""
    world, port = served
    listening = [
        one.laddr
        for one in psutil.Process(world.controllers[0].pid).net_connections()
        if one.status == psutil.CONN_LISTEN
    ]

    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", port)]


def test_what_is_in_the_way_of_the_endpoint_is_reported_and_waited_for(world: World) -> None:
    """A taken port with the way out of that; a token that cannot be made, without that. Both are tried again."""

    def endpoint() -> tuple[str, int]:
        controller = published.read(world.home).controller
        return (" ".join(controller.warnings), controller.http_port) if controller else ("", 0)

    token_file = world.home.controller / "token"
    token_file.mkdir(parents=True)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        world.environment["OPENCODE_MANAGER_PORT"] = str(port)
        world.start()
        world.until(lambda: str(token_file) in endpoint()[0], "a token that cannot be made")
        assert "OPENCODE_MANAGER_PORT" not in endpoint()[0]
        token_file.rmdir()
        world.until(lambda: f"port {port}" in endpoint()[0], "a taken port")
        assert "set OPENCODE_MANAGER_PORT to another" in endpoint()[0]

    world.until(lambda: endpoint() == ("", port), "an endpoint")


async def test_the_token_is_in_its_file_and_nowhere_else(served: tuple[World, int]) -> None:
    """Mode 0600; not in a log, the state or a client's configuration; not on a command line."""
    world, port = served
    path = world.home.controller / "token"
    async with connect(world, port) as client:
        await client.call_tool("opencode_list", {})

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(token(world)) >= 32
    assert_nowhere(world, token(world))
    for name in ("claude-code", "claude-desktop", "opencode", "codex", "cursor"):
        assert token(world) not in world.run("mcp-config", "--client", name)
    assert not any(token(world) in " ".join(process.cmdline()) for process in world.processes())


def test_a_token_that_others_may_read_is_refused(world: World) -> None:
    """The controller goes on without the endpoint and says what to do."""
    world.home.controller.mkdir(parents=True, mode=0o700)
    path = world.home.controller / "token"
    path.write_text("a-token-that-anybody-may-read\n")
    path.chmod(0o644)
    world.light("app")
    world.start()
    world.ready("app")

    [warning] = world.until(lambda: warnings_of(world), "a warning")

    assert "others may read it" in warning
    assert "a-token-that" not in world.story() + warning
    assert "others may read it" in world.run("status")


async def test_a_token_that_is_changed_counts_at_once(world: World) -> None:
    """The old one is out; a file opened to others lets nobody in, and is no crash."""
    port = serving(world)
    path = world.home.controller / "token"
    old, new = token(world), "a-new-token-of-forty-characters-0123456789"
    path.write_text(f"{new}\n")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

        async def knock(with_token: str) -> int:
            headers = {"Authorization": f"Bearer {with_token}", "Accept": "application/json, text/event-stream"}
            body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            return (await http.post("/mcp", json=body, headers=headers)).status_code

        assert await knock(old) == 401
        assert await knock(new) not in {401, 500}
        path.chmod(0o644)
        assert await knock(new) == 401
        path.unlink()
        assert await knock(new) == 401
    os.kill(world.controllers[0].pid, 0)


@pytest.mark.parametrize("name", ["host", "origin", "authorization"])
async def test_a_header_that_is_sent_twice_is_no_value_anybody_allows(tmp_path: Path, name: str) -> None:
    """Whichever of the two a library would take: neither counts, here as at the bridge."""
    home = Home(tmp_path)
    right = {
        "host": b"127.0.0.1:4099",
        "origin": b"http://127.0.0.1:4099",
        "authorization": f"Bearer {server.token(home)}".encode(),
    }
    codes: list[int] = []

    async def app(*_: object) -> None:
        codes.append(200)

    async def send(message: MutableMapping[str, Any]) -> None:
        codes.extend([message["status"]] if "status" in message else [])

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("the body was read")

    guard = server.EndpointGuard(home, 4099, app)
    once = [(key.encode(), value) for key, value in right.items()]
    for headers in (once, [(name.encode(), b"evil"), *once]):
        await guard({"type": "http", "method": "POST", "path": "/mcp", "headers": headers}, receive, send)

    assert codes == [200, {"host": 421, "origin": 403, "authorization": 401}[name]]


def warnings_of(world: World) -> tuple[str, ...]:
    found = published.read(world.home).controller
    return tuple(found.warnings) if found else ()
