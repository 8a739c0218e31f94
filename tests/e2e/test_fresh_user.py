"""A fresh user with nothing but what people have: the agent works as they would, and cannot reach what is not its own.

Belongs here: the whole way, with the real OpenCode, git over a real SSH server, and bubblewrap where it works. Does not
belong here: parts of it, which have tests of their own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler import settings as settings_module
from reconciler.api import engine_access
from tests.support import sshd
from tests.support.agentcalls import ask
from tests.support.bubblewrap import bubblewrap_or_skip
from tests.support.canaries import is_ready
from tests.support.fakemodel import KEY, FakeModel, provider
from tests.support.live import use
from tests.support.terminal import on_terminal
from tests.support.world import World, a_world, git, make_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.xdist_group("fresh user"), pytest.mark.long, pytest.mark.lane]  # one world for all
PRIVATE = "the-users-own-private-key"
SHOWING = ("status", "list", "env", "describe", "top", "logs", "events", "doctor")
"""Commands that show something of a project."""
EVERYBODYS = frozenset({"list", "doctor", "events"})
"""Those that need no name."""


@pytest.fixture(name="bare", scope="module")
def _bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository on the other side of a network."""
    folder = tmp_path_factory.mktemp("bare")
    git(make_repository(folder / "origin"), "clone", "-q", "--bare", ".", str(folder / "app.git"))
    return folder / "app.git"


@pytest.fixture(name="world", scope="module")
def _world(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], opencode_program: Path, bare: Path
) -> Iterator[World]:
    """One home, one agent that runs, and the key typed at a terminal."""
    bubblewrap_or_skip()
    folder = tmp_path_factory.mktemp("fresh")
    with FakeModel() as model, sshd.best()(folder / "sshd") as server, a_world(folder, ports) as world:
        world.provide(opencode_program)
        home = world.root / "user"
        for place, text in {
            ".config/git/config": "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n",
            ".config/opencode/opencode.json": json.dumps(provider(model.url)).replace(KEY, "{env:CORP_KEY}"),
            ".ssh/id_ed25519": PRIVATE,
        }.items():
            home.joinpath(place).parent.mkdir(parents=True, exist_ok=True)
            home.joinpath(place).write_text(text)
        typed = on_terminal(world.command("secrets", "--all", "CORP_KEY"), world.environment, typed={"CORP_KEY: ": KEY})
        assert (typed[0], KEY in typed[1]) == (0, False)
        world.write("demo", f"git: {{url: {server.url(bare)}}}\nagent: {{env: {{npm_config_offline: 'true'}}}}\n")
        world.start()
        world.wait("demo", lambda _: world.home.deploy_key("demo").with_name("demo-deploy.pub").exists())
        server.authorize(world.home.deploy_key("demo").with_name("demo-deploy.pub").read_text())
        world.ready("demo")
        yield world


def answered(world: World, directive: str) -> str:
    """What the agent answers to a prompt, tools and all."""
    session = ask(world, "demo", "POST", "/session", {"title": "t"})["id"]
    parts = {"parts": [{"type": "text", "text": directive}]}
    said = ask(world, "demo", "POST", f"/session/{session}/message", parts)
    return json.dumps([said, ask(world, "demo", "GET", f"/session/{session}/message")])


def test_a_fresh_clone_is_clean_in_the_agents_world(world: World) -> None:
    """And status and list say how it is confined."""
    assert world.run("exec", "demo", "--", "git", "status", "--porcelain") == ""
    shown = world.run("status", "demo")
    assert "Confinement: bubblewrap" in shown
    assert "opencode-manager env demo" in shown
    titles, row = world.run("list", "-o", "wide").splitlines()[:2]
    assert row[titles.index("CONFINEMENT") :].split()[0] == "bubblewrap"


def test_it_answers_commits_in_the_users_name_and_pushes_with_the_deploy_key(world: World, bare: Path) -> None:
    """By the user's provider, with the key that all projects share."""
    said = answered(world, "hello world")
    work = "echo more >> more.txt && git add . && git commit -qm Work && git push -q origin HEAD"
    pushed = answered(world, use("bash", command=work, description="work"))

    assert "hello world" in said
    assert git(bare, "log", "-1", "--format=%an <%ae> %s", "main").strip() == "Ada <ada@example.org> Work", pushed


def test_exec_is_confined_as_the_agent_is(world: World) -> None:
    """The same folders, no other process, the exit code of the command, and nothing left of it."""
    home, manager = world.root / "user", world.home.root
    look = f"cat {home}/.ssh/id_ed25519 {manager}/.env {manager}/opencode-controller/*; echo pid $$; exit 9"
    printed = world.run("exec", "demo", "--", "sh", "-c", look, code=9)

    assert PRIVATE not in printed
    assert KEY not in printed
    assert int(printed.split("pid ")[1].split()[0]) < 10
    assert world.run("exec", "demo", "--", "sh", "-c", f"echo x > {home}/made", code=2)
    assert world.run("exec", "demo", "--", "sh", "-c", "kill -9 $$", code=137) == ""
    assert not [one for one in psutil.process_iter() if _is_of(one, look)]


def test_the_program_of_a_confined_agent_is_found(world: World) -> None:
    """It is what `attach` runs: nothing that the agent could have made, and the agent sees it read-only."""
    settings = settings_module.load(environment=world.environment)
    found = Path(engine_access.program(settings, "demo", {"opencode"}))

    assert found.name == "opencode"
    assert not found.is_relative_to(world.home.sandboxes)


TYPES = "import fcntl, termios; [fcntl.ioctl(0, termios.TIOCSTI, bytes([byte])) for byte in b'typed']"


def test_what_runs_in_the_agents_world_types_nothing_at_the_users_terminal(world: World) -> None:
    """An agent can make `git status` run a program of its own; what it typed, the user's shell would run outside."""
    python = ("exec", "demo", "--", "/usr/bin/env", "python3", "-c", TYPES)
    code, printed = on_terminal(["setsid", "--ctty", "--wait", *world.command(*python)], world.environment)

    assert code == 1, printed
    assert "Error" in printed


def _is_of(process: psutil.Process, text: str) -> bool:
    try:
        return text in process.cmdline()
    except psutil.Error:
        return False


@pytest.mark.parametrize("command", SHOWING)
def test_no_command_shows_a_secret(world: World, command: str) -> None:
    """Those that show the agent's world say that there is one, and where it is from."""
    shared = world.home.root / ".env"
    named = () if command in EVERYBODYS else ("demo",)
    printed = world.run(command, *named, code=None)

    own = world.home.sandbox("demo").env_file.read_text().split()
    values = [KEY, *(line.partition("=")[2] for line in own if "PASSWORD=" in line or "TOKEN=" in line)]
    assert len(values) == 3
    assert [value for value in values if value in printed] == []
    if command == "env":
        assert [
            line for line in printed.splitlines() if "CORP_KEY" in line and str(shared) in line and "(hidden)" in line
        ]


def test_an_agent_outlives_controller_and_keeper_in_its_confinement(world: World) -> None:
    """Both are killed as hard as can be; the next controller takes over the very same process."""
    before = world.ready("demo")["agent"]["pid"]
    keepers = [pid for pid, line in world.lines().items() if "keeper.py" in line]
    world.kill()
    for pid in keepers:
        psutil.Process(pid).kill()
    since = world.status("demo")["observed"]
    world.start()
    status = world.wait("demo", lambda status: is_ready(status) and status["observed"] > since)

    assert status["agent"]["pid"] == before
    assert status["confinement"] == "bubblewrap"
    assert "hello again" in answered(world, "hello again")


def test_a_stop_leaves_no_process_and_a_destroy_loses_nothing(world: World) -> None:
    """Neither the agent, nor what confines it; the last one here, for it ends the agent."""
    family = world.lines()
    assert any("bwrap" in line for line in family.values())
    world.run("stop", "demo")

    assert [line for pid, line in world.lines().items() if pid in family] == []
    world.run("destroy", "demo", "--yes")
