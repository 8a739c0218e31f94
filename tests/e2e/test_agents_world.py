"""What an agent has of its user's: providers, keys, rules and logins, as in a terminal, with the real OpenCode."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from reconciler.agents.opencode.kind import OPENCODE
from tests.support.agentcalls import ask
from tests.support.fakemodel import KEY, FakeModel, provider
from tests.support.world import Status, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.xdist_group("world"), pytest.mark.long, pytest.mark.lane]  # one controller for all
ROUNDS = 200
RULE = "Always greet the corporation."


@pytest.fixture(name="model", scope="module")
def _model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


@pytest.fixture(name="pair", scope="module")
def _pair(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], opencode_program: Path, model: FakeModel
) -> Iterator[World]:
    """A fresh user with a configuration of their own, and two projects."""
    with a_world(tmp_path_factory.mktemp("pair"), ports) as world:
        world.provide(opencode_program)
        home = world.root / "user"
        config = home / ".config" / "opencode"
        config.mkdir(parents=True)
        own = json.loads(json.dumps(provider(model.url)).replace(KEY, "{env:CORP_KEY}"))
        (config / "opencode.json").write_text(json.dumps(own))
        (config / "AGENTS.md").write_text(RULE)
        world.environment["OPENCODE_MANAGER_LIVENESS"] = "0.5"
        shared = world.home.root / ".env"
        shared.touch(mode=0o600)
        shared.write_text(f"CORP_KEY={KEY}\n")
        for name in ("blue", "red"):
            world.write(name, f"git: {{url: {world.origin}}}\nagent: {{env: {{npm_config_offline: 'true'}}}}\n")
        world.start()
        for name in ("blue", "red"):
            world.ready(name)
        yield world


def models(world: World, project: str) -> set[str]:
    """Models as the agent has them."""
    found = ask(world, project, "GET", "/config/providers")["providers"]
    return {f"{one['id']}/{model}" for one in found for model in one["models"]}


def logins(world: World) -> Path:
    """Where the user's own OpenCode keeps logins."""
    return world.root / "user" / ".local" / "share" / "opencode" / "auth.json"


def copy(world: World, project: str) -> Path:
    """Where an agent has them."""
    return world.home.sandbox(project).xdg / OPENCODE.credentials


def restarted(world: World, name: str, pid: int) -> Status:
    """Wait for another agent that is ready."""
    return world.wait(name, lambda status: bool(status["ready"]["status"]) and status["agent"]["pid"] != pid)


def tokens(number: int) -> dict[str, Any]:
    return {
        "type": "oauth",
        "refresh": f"r-{number}",
        "access": f"a-{number}",
        "expires": 2_000_000_000_000 + number,
    }


def test_the_agent_answers_through_the_users_provider_with_the_shared_key(pair: World, model: FakeModel) -> None:
    """The provider is in the user's own configuration, its key in the `.env` of all projects; the rules count too."""
    session = ask(pair, "blue", "POST", "/session", {"title": "t"})["id"]

    said = ask(
        pair, "blue", "POST", f"/session/{session}/message", {"parts": [{"type": "text", "text": "hello world"}]}
    )

    assert "hello world" in json.dumps(said["parts"])
    assert "hello world" in model.prompts
    assert (pair.home.sandbox("blue").xdg / "config" / "opencode" / "AGENTS.md").read_text() == RULE
    assert KEY not in json.dumps(pair.status("blue")) + pair.run("env", "blue") + pair.run("env", "blue", "-o", "json")


def test_a_project_sees_the_models_of_a_terminal_there(pair: World, opencode_program: Path) -> None:
    """By the same program in the same clone."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": pair.environment["HOME"],
        "CORP_KEY": KEY,
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "npm_config_offline": "true",
    }
    done = subprocess.run(
        [str(opencode_program), "models"],
        cwd=pair.home.sandbox("blue").repo,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert models(pair, "blue") == set(done.stdout.split())


def test_a_command_runs_in_the_agents_world(pair: World) -> None:
    """With its variables, in its clone, and with its exit code."""
    printed = pair.run("exec", "blue", "--", "sh", "-c", "pwd; echo $HOME; echo $CORP_KEY; exit 7", code=7)

    sandbox = pair.home.sandbox("blue")
    agent = psutil.Process(pair.ready("blue")["agent"]["pid"]).environ()
    other = {**pair.environment, "LANG": "xx_YY", "PATH": f"/elsewhere:{pair.environment['PATH']}"}
    command = pair.command("exec", "blue", "--", "env", "-0")
    given = subprocess.run(command, env=other, capture_output=True, text=True, check=True).stdout
    variables = dict(one.split("=", 1) for one in given.split("\0") if one and not one.startswith("PWD="))
    assert variables.items() <= agent.items()
    assert {"PATH", "HOME", "CORP_KEY", "GIT_SSH_COMMAND"} < variables.keys()
    assert printed.split() == [str(sandbox.repo), str(sandbox.home), KEY]
    assert pair.run("exec", "blue", "--", "git", "status", "--short") == ""
    assert "it is not on the agent's PATH" in pair.run("exec", "blue", "no-such-program-of-ours", code=1)


def test_a_login_while_it_runs_is_taken_up_when_the_agent_is_idle(pair: World) -> None:
    """Though there were none when it was started; nobody's configuration is written to meanwhile."""
    config = pair.root / "user" / ".config" / "opencode"
    before = {path.name for path in config.iterdir()}
    pids = {name: pair.ready(name)["agent"]["pid"] for name in ("blue", "red")}

    logins(pair).parent.mkdir(parents=True, exist_ok=True)
    logins(pair).touch(mode=0o600)
    logins(pair).write_text(json.dumps({"fake": {"type": "api", "key": KEY}, "one": tokens(0), "two": tokens(0)}))
    for name, pid in pids.items():
        after = restarted(pair, name, pid)
        assert after["agent"]["restarts"] == 0
        assert json.loads(copy(pair, name).read_text())["fake"]["key"] == KEY

    assert {path.name for path in config.iterdir()} - before <= {"node_modules", "package.json", "package-lock.json"}


def test_two_agents_that_renew_at_once_lose_no_login(pair: World) -> None:
    """Each writes its login again and again, as a plugin does that renews tokens; nobody is restarted for that."""
    pids = {name: pair.ready(name)["agent"]["pid"] for name in ("blue", "red")}

    def renew(project: str, login: str) -> None:
        for number in range(1, ROUNDS + 1):
            assert ask(pair, project, "PUT", f"/auth/{login}", tokens(number))

    threads = [threading.Thread(target=renew, args=one) for one in (("blue", "one"), ("red", "two"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def same() -> bool:
        files = [json.loads(path.read_text()) for path in (logins(pair), copy(pair, "blue"), copy(pair, "red"))]
        return all(file.get(login, {}).get("refresh") == f"r-{ROUNDS}" for file in files for login in ("one", "two"))

    pair.until(same, "both logins everywhere")
    assert {name: pair.ready(name)["agent"]["pid"] for name in ("blue", "red")} == pids
