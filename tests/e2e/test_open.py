"""`open` with a real controller: the address it prints, the browsers it lets in, and what ends that."""

from __future__ import annotations

import http.client
import resource
import select
import socket
import stat
from pathlib import Path

import psutil
import pytest

from reconciler.mcpkit import quiet_server
from tests.support.frontends import _served, assert_nowhere, fix_port, serving, token
from tests.support.terminal import on_terminal
from tests.support.visits import ADDRESS, get
from tests.support.world import PATIENCE, World, read_env

__all__ = ["_served"]


def let_in(world: World, port: int, name: str) -> str:
    """The cookie of a browser that was let in by what `open` prints."""
    match = ADDRESS.fullmatch(world.run("open", name, "--print"))
    assert match is not None
    assert (match["host"], int(match["port"])) == (f"{name}.localhost", port)
    status, _, cookie = get(port, name, match["path"])
    assert status == 303
    for secret in (match["code"], cookie.partition("=")[2]):
        assert_nowhere(world, secret)
    assert get(port, name, match["path"])[0] == 403
    return cookie


def test_a_browser_stays_let_in_until_the_project_stops_or_it_is_revoked(world: World) -> None:
    """Over a restart of the agent, and the controller's death; the password is nowhere in what it gets."""
    fix_port(world)
    world.light("demo")
    port = serving(world)
    world.ready("demo")
    cookie, other = let_in(world, port, "demo"), let_in(world, port, "demo")
    assert '"healthy":true' in get(port, "demo", cookie=cookie)[1]
    world.run("restart", "demo")
    assert get(port, "demo", cookie=cookie)[0] == 200
    world.kill()
    assert serving(world) == port
    world.ready("demo")
    assert [get(port, "demo", cookie=one)[0] for one in (cookie, other, "")] == [200, 200, 401]

    assert "2 browsers of demo let in before must be let in again" in world.run("open", "demo", "--revoke")
    assert get(port, "demo", cookie=cookie)[0] == 401
    again = let_in(world, port, "demo")
    world.run("stop", "demo")
    status, said, _ = get(port, "demo", cookie=again)
    assert (status, said) == (
        503,
        "cannot show demo: its spec says stopped; start it with: opencode-manager start demo\n",
    )
    assert "its spec says stopped" in world.run("open", "demo", code=1)
    world.run("start", "demo")
    assert get(port, "demo", cookie=again)[0] == 401
    world.run("destroy", "demo", "--yes", "--discard-unpushed")
    assert not list((world.home.controller / "web").glob("demo.*"))


def test_another_password_lets_no_browser_in_any_more(served: tuple[World, int]) -> None:
    """Neither before the agent has it nor after."""
    world, port = served
    world.light("rotated")
    world.ready("rotated")
    cookie, env = let_in(world, port, "rotated"), world.home.sandbox("rotated").env_file
    before = world.status("rotated")["agent"]["pid"]
    world.run("secrets", "rotated", "--generate", "--rotate")
    assert get(port, "rotated", cookie=cookie)[0] in {401, 503}
    assert read_env(env)["OPENCODE_SERVER_PASSWORD"] != "password-of-rotated-0123456789"
    world.wait("rotated", lambda status: status["ready"]["status"] and status["agent"]["pid"] != before)
    assert get(port, "rotated", cookie=cookie)[0] == 401
    assert get(port, "rotated", cookie=let_in(world, port, "rotated"))[0] == 200


def test_at_a_terminal_a_browser_is_opened_and_no_argument_has_the_code(
    served: tuple[World, int], tmp_path: Path
) -> None:
    """It is given a file that only we can read."""
    world, port = served
    world.light("viewed")
    world.ready("viewed")
    seen, browser = tmp_path / "seen", tmp_path / "a-browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}.part && mv {seen}.part {seen}\n')
    browser.chmod(0o700)
    code, printed = on_terminal(world.command("open", "viewed"), {**world.environment, "BROWSER": f"{browser} %s"})
    match = ADDRESS.search(printed)
    assert (code, match is not None) == (0, True), printed
    assert match is not None
    world.until(seen.exists, "the browser")
    launcher = Path(seen.read_text().removeprefix("file://"))
    assert stat.S_IMODE(launcher.stat().st_mode) == 0o600
    assert match["path"] in launcher.read_text()
    assert match["code"] not in str(launcher)
    assert get(port, "viewed", match["path"])[0] == 303


def test_a_thousand_connections_are_held_off_and_the_controller_goes_on(served: tuple[World, int]) -> None:
    """Most are dropped at once; its files are left for its own work, and MCP is served again when they have gone."""
    world, port = served
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2048, hard)), hard))
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(1000)]
    poll = select.poll()
    for one in held:
        poll.register(one, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    gone: set[int] = set()
    while len(gone) < 1000 - quiet_server.MOST:
        found = poll.poll(PATIENCE * 1000)
        assert found, f"{len(gone)} of them were dropped"
        for number, _ in found:
            gone.add(number)
            poll.unregister(number)
    files = psutil.Process(world.controllers[0].pid).num_fds()
    for one in held:
        one.close()
    assert files < quiet_server.MOST + 100
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    wire.request("GET", "/mcp", headers={"authorization": f"Bearer {token(world)}"})
    assert wire.getresponse().status == 405
    wire.close()


@pytest.mark.parametrize("command", ["open", "attach"])
def test_each_says_how_it_is_used_and_which_project_was_meant(served: tuple[World, int], command: str) -> None:
    """With an example."""
    world, _ = served
    world.light("nearby", state="stopped")
    world.ready("nearby")

    assert f"opencode-manager {command} blog-api" in world.run(command, "--help")
    assert "did you mean nearby?" in world.run(command, "nearly", code=1)
    assert "cannot " in world.run(command, "../x", code=1)
    assert "its spec says stopped" in world.run(command, "nearby", code=1)
