"""Secrets of agents, and what agents are given, at the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.terminal import on_terminal
from tests.support.world import read_env

if TYPE_CHECKING:
    from tests.support.world import World

TYPED = "sk-typed-at-a-terminal $HOME"


def refused(world: World, *arguments: str) -> str:
    printed = world.run(*arguments, code=1)
    assert printed.startswith("cannot ")
    return printed


def test_a_key_is_asked_for_and_kept_and_never_printed(world: World) -> None:
    """Of one project, and of all; what was in the files stays."""
    world.light("app", state="stopped")
    before = read_env(world.home.sandbox("app").env_file)

    for whose, path in (("app", world.home.sandbox("app").env_file), ("--all", world.home.root / ".env")):
        command = world.command("secrets", whose, "CORP_KEY")
        code, printed = on_terminal(command, world.environment, typed={"CORP_KEY: ": TYPED})

        assert (code, TYPED in printed, str(path) in printed) == (0, False, True), printed
        assert path.stat().st_mode & 0o777 == 0o600
        assert read_env(path)["CORP_KEY"] == TYPED
    assert {
        key: value for key, value in read_env(world.home.sandbox("app").env_file).items() if key in before
    } == before


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("HOME", "is reserved: the manager sets it"),
        ("corp_key", "is no name of a secret: use capitals"),
        ("OPENCODE_PROT", "is too much like OPENCODE_PORT"),
        ("GIT_URL", "is the manager's own, of one project"),
    ],
)
def test_a_key_that_no_agent_can_have_is_refused(world: World, key: str, why: str) -> None:
    """By name, and nothing is made."""
    world.light("app", state="stopped")

    code, printed = on_terminal(
        world.command("secrets", "--all", key), world.environment, columns=300, typed={f"{key}: ": TYPED}
    )

    assert (code, why in printed, TYPED in printed) == (1, True, False), printed
    assert not (world.home.root / ".env").exists()


def test_secrets_say_what_they_need(world: World) -> None:
    """A project or --all, a key that is not empty, a terminal."""
    world.light("app", state="stopped")

    assert "give NAME, NAME KEY or --all KEY" in refused(world, "secrets") + refused(world, "secrets", "--all")
    assert "without a terminal" in refused(world, "secrets", "app", "CORP_KEY")
    _, printed = on_terminal(world.command("secrets", "app", "A"), world.environment, typed={"A: ": ""})
    assert "cannot keep an empty A" in printed
    assert "opencode-manager secrets --all ANTHROPIC_API_KEY" in world.run("secrets", "--help")


def test_what_an_agent_is_given_is_shown_and_entered_without_a_controller(world: World) -> None:
    """From a project that a controller has taken up once."""
    user = world.root / "user"
    (user / ".npmrc").write_text("registry=https://npm.example/\n")
    (user / ".netrc").touch()
    world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps({"provider": {"x": {"options": {"apiKey": TYPED}}}})
    world.light("app", agent="{path: [~/tools]}")
    with world.home.sandbox("app").env_file.open("a") as file:
        file.write(f"CORP_KEY='{TYPED}'\n")
    assert "no controller has taken it up yet" in refused(world, "env", "app")
    world.run("run", "--once")

    shown, found = world.run("env", "app"), json.loads(world.run("env", "app", "-o", "json"))

    assert TYPED not in shown + json.dumps(found)
    [key] = [one for one in found["variables"] if one["name"] == "CORP_KEY"]
    assert key == {"name": "CORP_KEY", "value": "", "origin": str(world.home.sandbox("app").env_file), "secret": True}
    assert str(user / ".npmrc") in [one["source"] for one in found["files"]]
    assert str(user / ".netrc") in [what for what, _ in found["left_out"]]
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert any(line.startswith("CORP_KEY ") and line.endswith(".env (hidden)") for line in lines)
    assert any(line.startswith("~/.netrc ") for line in lines)
    assert world.run("exec", "app", "--", "sh", "-c", 'echo "$CORP_KEY" $PATH; exit 3', code=3).startswith(
        f"{TYPED} {user}/tools:"
    )
    assert world.run("exec", "app", "cat", given="through stdin") == "through stdin"
    assert "say what, as in: opencode-manager exec app -- git status" in refused(world, "exec", "app")
    assert "there is no such project" in refused(world, "exec", "bpp", "--", "true") + refused(world, "env", "bpp")
