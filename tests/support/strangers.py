"""Strangers on the ports of a project, and what they must never hear.

Every way to listen where a client of 127.0.0.1 arrives, and the judgement of what was heard. The listening process is
`stranger` or `faults.Stranger`.
"""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.faults import Stranger
from tests.support.runs import record_leader
from tests.support.world import read_env

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.world import World

ADDRESSES: Final = ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1")  # noqa: S104  that is how a stranger listens
ANYWHERE = pytest.mark.parametrize("address", ADDRESSES)


@contextlib.contextmanager
def a_stranger(port: int, place: Path, *secrets: str, address: str = "127.0.0.1") -> Iterator[Stranger]:
    """Somebody else listens within, pretends to be ours, and must not hear a secret.

    Args:
        port: where.
        place: a folder for what it hears.
        secrets: what it must not hear, nor any other credential.
        address: on which address.
    """
    heard = place / f"heard-{port}-{address.replace(':', '_')}"
    with Stranger(port, "likeus", heard, address) as stranger:
        yield stranger
        harmless(stranger, *secrets)


def harmless(stranger: Stranger, *secrets: str) -> None:
    """It heard no secret so far: neither as it is, nor as Basic, nor any authorization at all."""
    heard = stranger.heard()
    for secret in secrets:
        assert secret.encode() not in heard
        assert base64.b64encode(f"opencode:{secret}".encode()) not in heard
    assert b"authorization" not in heard.lower()


def secrets_of(world: World, name: str) -> tuple[str, str]:
    """The password of a project's agent and the token of its bridge."""
    env = read_env(world.home.sandbox(name).env_file)
    return env["OPENCODE_SERVER_PASSWORD"], env["MCP_TOOL_BEARER_TOKEN"]


def own_bridge(world: World, name: str) -> None:
    """Let a light project have the real bridge instead of the light tool."""
    path = world.home.sandbox(name).env_file
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("MCP_TOOL_DIR=")))


@contextlib.contextmanager
def an_agent(port: int, run_dir: Path) -> Iterator[Stranger]:
    """A stand-in for an agent within: the same program as a stranger's, but a run record names it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with Stranger(port, "likeus", run_dir / "heard", "127.0.0.1") as agent:
        record_leader(run_dir, agent.process.pid, port=port)
        yield agent
