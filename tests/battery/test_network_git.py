"""Network faults between git and its server: SSH that hangs, refuses or is somebody else, and servers that die."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support import sshd
from tests.support.faults import make_key
from tests.support.world import git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.scoreboard import Score
    from tests.support.sshd import SshServer
    from tests.support.world import Status, World

SIZE = 3_000_000
"""Bytes of a file that cannot be compressed: git sends it in many packets."""


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


@pytest.fixture(name="server")
def _server(tmp_path: Path, world: World) -> Iterator[SshServer]:
    """An SSH server that lets the project `app` in, before a repository that takes a while to send."""
    world.origin.joinpath("large.bin").write_bytes(os.urandom(SIZE))
    git(world.origin, "add", ".")
    git(world.origin, "commit", "-q", "-m", "Large")
    with sshd.best()(tmp_path / "ssh") as server:
        server.authorize(make_key(world.home.deploy_key("app")))
        yield server


def by_ssh(world: World, server: SshServer, extra: str = "") -> None:
    """The spec of `app`, or the same once more, which is a wish to look now."""
    world.light("app")
    world.write("app", f"git: {{url: {server.url(world.origin)}{extra}}}\n")


def partial(world: World) -> list[str]:
    """What is left of clones that were not finished."""
    sandbox = world.home.sandbox("app").path
    return [path.name for path in sandbox.iterdir() if path.is_dir() and "repo" in path.name]


def test_a_server_that_dies(world: World, score: Score, server: SshServer) -> None:
    """A git server that dies at any point of a clone: no part of it is taken for a clone, and the next try succeeds."""
    world.start()
    for turn in score.times(2, 20):
        score.tried()
        size = (SIZE // 2, 100, SIZE - 1000)[turn % 3] if turn < 3 else turn * SIZE // 20
        server.stall_after(size)
        server._stalled.clear()
        by_ssh(world, server)
        server.wait_stalled()
        server.stall_after(-1 if turn % 3 == 2 else size)
        server.drop_connections()
        status = world.wait("app", lambda status: status["reason"] in {"GitUnreachable", "GitFailed", "Running"})
        repo = world.home.sandbox("app").repo
        if status["reason"] != "Running":
            score.expect("cannot" in status["message"], f"at {size} it says {status['message']}")
            score.expect(not repo.exists(), f"at {size} a part was taken for a clone")
        server.stall_after(-1)
        by_ssh(world, server)
        world.wait("app", is_ready)
        git(repo, "fsck", "--full", "--strict")
        score.expect(repo.joinpath("large.bin").stat().st_size == SIZE, "the clone is not whole")
        score.expect(partial(world) == ["repo"], f"left: {partial(world)}")
        world.run("destroy", "app", "--yes", "--discard-unpushed")
        server.authorize(make_key(world.home.deploy_key("app")))


def test_a_controller_that_dies(world: World, score: Score, server: SshServer) -> None:
    """A controller killed in the middle of a clone leaves no git and no ssh, and the next one clones anew."""
    for _ in score.times(1, 5):
        score.tried()
        world.start()
        server.stall_after(SIZE // 2)
        server._stalled.clear()
        by_ssh(world, server)
        server.wait_stalled()
        world.kill()
        server.stall_after(-1)
        server.drop_connections()
        world.start()
        world.wait("app", is_ready)
        git(world.home.sandbox("app").repo, "fsck", "--full", "--strict")
        score.expect(partial(world) == ["repo"], f"left: {partial(world)}")
        score.expect(not [line for line in world.lines().values() if line.startswith(("git ", "ssh "))], "git is left")
        world.run("destroy", "app", "--yes", "--discard-unpushed")
        server.authorize(make_key(world.home.deploy_key("app")))
        world.kill()


def test_a_server_that_hangs(world: World, score: Score, server: SshServer) -> None:
    """An SSH server that takes the connection and says nothing holds nobody up, and its project stops at once."""
    server.hang()
    by_ssh(world, server)
    world.start()
    server.wait_connected()
    world.light("other")
    score.tried()
    score.expect(world.wait("other", is_ready), "another project had to wait")
    if score.full:
        status = world.wait("app", lambda status: status["reason"] == "GitUnreachable")
        score.expect("cannot" in status["message"], f"it says {status['message']}")
        by_ssh(world, server)
    world.write("app", f"state: stopped\ngit: {{url: {server.url(world.origin)}}}\n")
    world.wait("app", lambda status: status["reason"] == "Stopped")
    score.expect(not [line for line in world.lines().values() if "ssh" in line.split()[0]], "its ssh is left")


def test_a_server_that_refuses(world: World, score: Score, server: SshServer) -> None:
    """A port where nobody listens, and a server that knows no key: each is told apart, and tried again when asked."""
    world.start()
    score.tried(2)
    world.light("closed")
    world.write("closed", "git: {url: ssh://git@127.0.0.1:1/none.git}\n")
    server.revoke_all()
    by_ssh(world, server)
    status = world.wait("closed", lambda status: status["reason"] == "GitUnreachable")
    score.expect("cannot" in status["message"] and not status["stalled"]["status"], f"closed: {status['message']}")
    waiting = world.wait("app", lambda status: status["reason"] == "WaitingForKey")
    score.expect(waiting["public_key"].startswith("ssh-ed25519 "), "the public key is not shown")
    server.authorize(waiting["public_key"])
    by_ssh(world, server)
    score.expect(world.wait("app", is_ready), "it is not tried again")


def test_a_server_that_is_somebody_else(world: World, score: Score, server: SshServer) -> None:
    """A changed host key is refused and told, the agent lives on, and it is accepted once a person removes the old."""
    by_ssh(world, server)
    world.start()
    before = world.wait("app", is_ready)
    server.change_host_key()
    git(world.origin, "branch", "newer")
    by_ssh(world, server, ", ref: newer")
    score.tried()
    status = world.wait("app", lambda status: status["reason"] == "HostKeyChanged")
    score.expect("cannot" in status["message"] and "known_hosts" in status["message"], f"it says {status['message']}")
    score.expect(status["agent"]["pid"] == before["agent"]["pid"], "the agent was restarted")
    world.home.sandbox("app").known_hosts.unlink()
    by_ssh(world, server, ", ref: newer, ssh_key: null")
    after = world.wait("app", is_ready)
    score.expect(after["git_ref"] == "newer" and after["agent"]["pid"] == before["agent"]["pid"], "it is not as wanted")
