"""A port that a spec or a `.env` asks for, where the ranges of ports were moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.secrets import env_file
from reconciler.frontends.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World


@pytest.fixture(name="moved")
def _moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A specs folder, with the ranges moved."""
    monkeypatch.setenv("OPENCODE_MANAGER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENCODE_MANAGER_AGENT_PORTS", "4981-4989")
    monkeypatch.setenv("OPENCODE_MANAGER_BRIDGE_PORTS", "5981-5989")
    return tmp_path


def test_within_the_range_in_force_it_is_right(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = moved / "app.yaml"
    path.write_text("git: {url: here}\nagent: {port: 4985}\nbridge: {port: 5989}\n")

    assert main.main(["validate", str(path)]) == 0
    assert capsys.readouterr().out == "app.yaml: ok\n"


def test_outside_of_the_range_in_force_it_is_wrong_with_its_line(
    moved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = moved / "app.yaml"
    path.write_text("git: {url: here}\nagent: {port: 4150}\nbridge: {port: 5150}\n")

    assert main.main(["validate", str(path)]) == 1
    assert capsys.readouterr().out == (
        "cannot use port 4150: give one from 4981 to 4989 (agent.port, app.yaml:2)\n"
        "cannot use port 5150: give one from 5981 to 5989 (bridge.port, app.yaml:3)\n"
    )


def test_in_an_env_file_it_may_be_of_a_moved_range(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("OPENCODE_PORT=4985\nMCP_TOOL_PORT=5985\n")
    path.chmod(0o600)

    assert not [problem for problem in env_file.read_env(path).problems if "PORT" in problem]


def test_outside_of_the_range_the_controller_says_what_validate_says_and_stop_works(world: World) -> None:
    world.light("app", agent="{port: 4999}")
    said = world.run("validate", code=1)
    world.run("run", "--once", code=2)
    status = world.status("app")

    assert (status["reason"], status["agent"]["pid"]) == ("PortOutOfRange", None)
    assert status["message"].startswith(said.partition(" (")[0])
    world.run("stop", "app", "--wait", "0", code=None)
    world.run("run", "--once")
    assert world.status("app")["reason"] == "Stopped"
