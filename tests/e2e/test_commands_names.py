"""Commands at the terminal that write or read by a project's name, and what they end with."""

from __future__ import annotations

import errno
import subprocess
from typing import TYPE_CHECKING

import pytest

from reconciler.frontends.cli import main
from reconciler.frontends.cli.commands import list as listing
from tests.support.world import read_env

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World


@pytest.mark.parametrize("command", [("secrets", "--generate"), ("logs",)])
@pytest.mark.parametrize("name", ["..", "../../x", "a/b", ""])
def test_no_name_leads_anywhere_else(world: World, command: tuple[str, ...], name: str) -> None:
    """A name is a name: nothing is read or written by a path."""
    output = world.run(command[0], *command[1:], name, code=1)

    assert output.startswith(f"cannot use '{name}' as a project name: ")
    assert not (world.home.root / ".env").exists()


def test_good_secrets_stay_and_wrong_ones_are_replaced(world: World) -> None:
    """Unless all are to be new; a bad line that holds no secret is left for the person to fix."""
    world.light("app")
    path = world.home.sandbox("app").env_file
    password = read_env(path)["OPENCODE_SERVER_PASSWORD"]
    path.write_text(path.read_text().replace("token-of-app-0123456789", "short") + "OPENCODE_PORT=80\n")

    output = world.run("secrets", "app", "--generate", code=1)
    once = read_env(path)
    world.run("secrets", "app", "--generate", code=1)
    twice = read_env(path)
    world.run("secrets", "app", "--generate", "--rotate", code=1)

    assert "OPENCODE_PORT must be a port" in output
    assert once["OPENCODE_SERVER_PASSWORD"] == password
    assert once["MCP_TOOL_BEARER_TOKEN"] != "short"
    assert twice == once
    assert read_env(path)["OPENCODE_SERVER_PASSWORD"] != password


def test_the_way_out_of_a_bad_line_is_the_file_itself(world: World) -> None:
    """The command makes secrets, and no port."""
    world.light("app")
    with world.home.sandbox("app").env_file.open("a") as file:
        file.write("OPENCODE_PORT=80\n")

    output = world.run("run", "--once", code=2)

    assert "fix it outside the chat in that file" in output


def test_one_run_ends_with_whether_all_is_as_wanted(world: World) -> None:
    """0 when it is, 2 when somebody has to act."""
    world.light("app")
    world.run("run", "--once", code=0)
    world.write("other", "git: {url: /nowhere}\n")

    output = world.run("run", "--once", code=2)

    assert "other" in output
    world.light("app", state="stopped")
    world.specs.joinpath("other.yaml").unlink()


def test_what_the_machine_refuses_is_one_sentence(world: World) -> None:
    """And no traceback."""
    world.light("app")
    world.home.logs.mkdir(parents=True)
    world.home.log_file("app", "agent").mkdir()

    output = world.run("logs", "app", code=1)

    assert output == (
        f"cannot go on with {world.home.log_file('app', 'agent')}: is a directory; "
        "see what is wrong there, then try again\n"
    )


def test_a_full_disk_is_reported_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/there/file")

    monkeypatch.setenv("OPENCODE_MANAGER_HOME", str(tmp_path))
    monkeypatch.setattr(listing, "run", full)

    assert main.main(["list"]) == 1
    assert capsys.readouterr().err == (
        "cannot go on with /there/file: no space left on device; make room there, then try again\n"
    )


def test_a_controller_that_may_open_too_few_files_says_so(world: World) -> None:
    """Wherever in it that happens, it is one sentence with what to do."""
    output = []
    for number in (10, 11, 12):  # enough for the event loop, which has nothing to say about it
        command = ["prlimit", f"--nofile={number}", *world.command("run", "--once")]
        done = subprocess.run(command, env=world.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            output.append(done.stderr)

    assert output
    assert {text.count("\n") for text in output} == {1}
    assert all(text.startswith("cannot go on with /") for text in output)
    assert all(text.endswith("too many open files; allow it more with ulimit -n, then try again\n") for text in output)


def test_only_what_is_known_can_be_confirmed(world: World) -> None:
    """A mistyped name is an error; one that is not held back is told to be so."""
    world.light("app", state="stopped")
    world.run("run", "--once")

    assert "cannot confirm ap: there is no such project; did you mean app?" in world.run(
        "confirm-missing", "ap", code=1
    )
    assert "there is nothing to confirm for app" in world.run("confirm-missing", "app")
    assert world.run("confirm-missing") == "there is nothing to confirm\n"


def test_the_farewell_says_how_to_stop_what_goes_on(world: World) -> None:
    """With the specs folder, where it was given."""
    world.light("app")
    there = world.root / "given specs"
    world.specs.rename(there)

    output = world.run("--specs", str(there), "run", "--once")

    assert "Still running: app." in output
    program = f"opencode-manager --specs '{there}'"
    assert f"To stop one: {program} stop NAME, which the next {program} run (or run --once) carries out." in output


def test_the_help_lists_the_exit_codes(world: World) -> None:
    """For scripts."""
    assert "exit codes:\n  0    success\n  1    error" in world.run("--help")
