"""`mcp-config` names no address that somebody else listens on, be it another user of this machine (F14)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from reconciler.core.status import ServiceStatus
from reconciler.frontends.mcp import client_config
from reconciler.settings import UserError
from tests.support.fakecontroller import a_fake_controller, make_settings
from tests.support.opencode import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = 65534
LISTENER = """\
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.fixture(name="taken", params=["another user", "this user"])
def _taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that a process of somebody else, or another one of this user, listens on."""
    if request.param == "another user" and os.getuid() != 0:
        pytest.skip("cannot be another user: this one is not root")
    user = NOBODY if request.param == "another user" else None
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    with subprocess.Popen(
        [python, "-I", "-c", LISTENER, str(port := free_port())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
        user=user,
        extra_groups=None if user is None else [],
    ) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"listening\n"
        with contextlib.ExitStack() as end:
            end.callback(stranger.kill)
            yield port


@pytest.mark.parametrize("client", ["opencode", "codex", "cursor", "vscode", "goose"])
def test_a_port_that_another_process_has_is_not_named_before_the_first_run(
    tmp_path: Path, taken: int, client: str
) -> None:
    settings = make_settings(tmp_path, OPENCODE_MANAGER_PORT=str(taken))

    with pytest.raises(UserError, match=f"cannot name the address: .* listens on port {taken}.*OPENCODE_MANAGER_PORT"):
        client_config.snippet(client, settings)

    assert not settings.home.controller.exists()


def test_a_port_that_another_process_has_is_not_named_though_our_controller_says_so(tmp_path: Path, taken: int) -> None:
    settings = make_settings(tmp_path)

    with (
        a_fake_controller(settings, taken),
        pytest.raises(UserError, match=f"cannot name the address: .* listens on port {taken}"),
    ):
        client_config.snippet("opencode", settings)


def test_the_port_of_a_bridge_that_another_process_has_is_not_named(tmp_path: Path, taken: int) -> None:
    settings = make_settings(tmp_path)
    settings.home.sandbox("app").run.mkdir(parents=True)
    with a_fake_controller(settings) as controller:
        bridge = ServiceStatus(state="running", pid=1, port=taken)
        controller.stalled("app", "1", "PortTaken", "", bridge=bridge)

        with pytest.raises(UserError, match=f"cannot name the address of app: .* listens on port {taken}"):
            client_config.snippet("codex", settings, "app")


def test_a_controller_that_serves_no_mcp_has_no_address(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)

    with a_fake_controller(settings, 0), pytest.raises(UserError, match="cannot name the address: the running"):
        client_config.snippet("opencode", settings)


def test_a_port_that_the_system_picks_is_not_known_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot name the address: OPENCODE_MANAGER_PORT=0"):
        client_config.snippet("opencode", make_settings(tmp_path))
