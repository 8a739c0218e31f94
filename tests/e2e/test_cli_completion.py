"""What real shells complete: commands, options, and the names of projects."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from reconciler.frontends.cli import catalogue
from tests.support import shell as shells

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World

SHELLS = ("bash", "zsh", "fish")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_projects(shell: str, world: World, tmp_path: Path) -> None:
    """As the parsers have them; names come from what is published."""
    world.light("web-api", state="stopped")
    world.light("web-shop", state="stopped")
    world.run("run", "--once")
    program = tmp_path / "bin" / "opencode-manager"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {world.python} -m reconciler "$@"\n')
    program.chmod(0o755)
    environment = {**world.environment, "PATH": f"{program.parent}:{world.environment['PATH']}"}
    script = tmp_path / f"completion.{shell}"
    done = subprocess.run(world.command("completion", shell), env=environment, capture_output=True, check=True)
    script.write_bytes(done.stdout)

    def offered(line: str) -> set[str]:
        return shells.completions(shell, script, line, environment)

    assert {"start", "stop", "status"} <= offered("opencode-manager st")
    assert {"web-api", "web-shop"} <= offered("opencode-manager stop web-")
    assert {"web-api", "web-shop"} <= offered("opencode-manager status ")
    assert "--dry-run" in offered("opencode-manager stop --")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_script(shell: str, world: World) -> None:
    """None is left out."""
    printed = world.run("completion", shell)

    assert [command.name for command in catalogue.COMMANDS if command.name not in printed] == []
