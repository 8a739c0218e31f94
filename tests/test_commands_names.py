"""Commands at the terminal that write or read by a project's name, and what they end with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.world import read_env

if TYPE_CHECKING:
    from tests.support.world import World


@pytest.mark.parametrize("command", [("secrets", "--generate"), ("logs",)])
@pytest.mark.parametrize("name", ["..", "../../x", "a/b", ""])
def test_no_name_leads_anywhere_else(world: World, command: tuple[str, ...], name: str) -> None:
    """A name is a name: nothing is read or written by a path."""
    told = world.run(command[0], *command[1:], name, code=1)

    assert "it is no name of a project" in told
    assert not (world.home.root / ".env").exists()


def test_good_secrets_stay_and_what_is_wrong_is_made_anew(world: World) -> None:
    """Unless all shall be new; a bad line that is no secret's is nobody's but the person's to mend."""
    world.light("app")
    path = world.home.sandbox("app").env_file
    password = read_env(path)["OPENCODE_SERVER_PASSWORD"]
    path.write_text(path.read_text().replace("token-of-app-0123456789", "short") + "OPENCODE_PORT=80\n")

    told = world.run("secrets", "app", "--generate", code=1)
    once = read_env(path)
    world.run("secrets", "app", "--generate", code=1)
    twice = read_env(path)
    world.run("secrets", "app", "--generate", "--rotate", code=1)

    assert "OPENCODE_PORT must be a port" in told
    assert once["OPENCODE_SERVER_PASSWORD"] == password
    assert once["MCP_TOOL_BEARER_TOKEN"] != "short"
    assert twice == once
    assert read_env(path)["OPENCODE_SERVER_PASSWORD"] != password


def test_the_way_out_of_a_bad_line_is_the_file_itself(world: World) -> None:
    """The command makes secrets, and no port."""
    world.light("app")
    with world.home.sandbox("app").env_file.open("a") as file:
        file.write("OPENCODE_PORT=80\n")

    told = world.run("run", "--once", code=2)

    assert "mend it outside the chat in that file" in told


def test_one_run_ends_with_whether_all_is_as_wanted(world: World) -> None:
    """0 when it is, 2 when somebody has to act."""
    world.light("app")
    world.run("run", "--once", code=0)
    world.write("other", "git: {url: /nowhere}\n")

    told = world.run("run", "--once", code=2)

    assert "other" in told
    world.light("app", state="stopped")
    world.specs.joinpath("other.yaml").unlink()


def test_a_folder_that_cannot_be_used_is_one_sentence(world: World) -> None:
    """And no traceback."""
    world.light("app")
    world.home.logs.mkdir(parents=True)
    world.home.log_file("app", "agent").mkdir()

    told = world.run("logs", "app", code=1)

    assert told.startswith("cannot ")
    assert "Traceback" not in told
