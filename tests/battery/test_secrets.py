"""Secrets: canaries planted in every one of them, one real life, and a search for them everywhere else."""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.system.files import private_folder
from tests.support import canaries, sshd
from tests.support.canaries import PROJECTS, SECRET_KEYS, Canaries, Life, is_ready
from tests.support.fakemodel import FakeModel, provider
from tests.support.faults import Recorder
from tests.support.world import LIGHT_AGENT, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.scoreboard import Score

pytestmark = [pytest.mark.xdist_group("secrets"), pytest.mark.long]  # one life for all of them
RECORDED = ("git", "ssh", "ssh-keygen", "npm", "node")


@pytest.fixture(name="life", scope="module")
def _life(
    tmp_path_factory: pytest.TempPathFactory,
    ports: tuple[range, range],
    opencode_program: Path,
    pytestconfig: pytest.Config,
) -> Iterator[Life]:
    """Lived once under an umask that hides nothing; the rows below are about what was seen."""
    root = tmp_path_factory.mktemp("secrets")
    mask = os.umask(0)
    try:
        with a_world(root, ports) as world, FakeModel() as model, sshd.best()(root / "ssh") as server:
            world.provide(opencode_program)
            world.home.root.chmod(0o700)
            world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url))
            recorder = Recorder(root / "recorder", *RECORDED)
            world.environment["PATH"] = f"{recorder.path}:{world.environment['PATH']}"
            life = Life(world, recorder, full=pytestconfig.getoption("--full"))
            life.plant(server, root / "user")
            life.begin()
            life.ask_everything()
            life.suffer()
            life.spoil()
            life.end()
            yield life
    finally:
        os.umask(mask)


def test_arguments(life: Life, score: Score) -> None:
    """No secret is in the arguments of any process of the machine."""
    score.tried(life.lines)
    for problem in life.in_arguments:
        score.violation(problem)
    for arguments, _ in life.recorder.calls():
        score.tried()
        score.expect(not life.canaries.within("\0".join(arguments).encode()), f"a secret in {arguments[:2]}")


def test_environments(life: Life, score: Score) -> None:
    """A secret is in the environment of the services that need it and of no other process."""
    score.tried(life.lines)
    for problem in life.in_environments:
        score.violation(problem)
    for arguments, environment in life.recorder.calls():
        name = next((one for one in PROJECTS if f"/{one}/".encode() in environment), "")
        rightful = {f"token of {name}"} if arguments[0] == "node" else set()
        if not life.rightful("serve", environment) and b"OPENCODE_SERVER_PASSWORD=" not in environment:
            score.tried()
            score.expect(not life.canaries.within(environment) - rightful, f"{arguments[:2]} knows a secret")


def test_files(life: Life, score: Score) -> None:
    """No file but its own holds a secret: logs, state, ledgers, records, specs, trash."""
    count, found = life.leaks()
    score.tried(count)
    for problem in found:
        score.violation(problem)


def test_git_objects(life: Life, score: Score) -> None:
    """No secret gets into git, committed with everything that lies there."""
    clones = [path.parent for path in life.world.home.root.rglob(".git") if path.is_dir()]
    assert len(clones) >= len(PROJECTS)
    for repo in [life.world.origin, *clones]:
        objects = canaries.git_objects(repo)
        score.tried(objects.count(b"\n"))
        score.expect(not life.canaries.within(objects), f"a secret in git of {repo}")


def test_answers(life: Life, score: Score) -> None:
    """No command and no tool says a secret, nor does any of their errors."""
    for where, text in life.answers.items():
        score.tried()
        found = life.canaries.within(text.encode())
        score.expect(not found, f"{where} says {found}")


def test_modes(life: Life, score: Score) -> None:
    """Sandboxes are 0700 and what is in them and beside them 0600, under an umask of 0 and after every failure."""
    score.tried(life.looks)
    for problem in life.modes:
        score.violation(problem)


def test_a_secret_alone_on_a_line(world: World, score: Score) -> None:
    """A secret pasted into .env on a line of its own is not repeated, though its padding makes it look like a key."""
    world.light("app")
    planted = Canaries()
    env = world.home.sandbox("app").env_file
    env.write_text(f"{env.read_text()}{planted.make('token')}=\n")
    world.start()
    world.wait("app", is_ready)

    score.tried()
    score.expect(not planted.within(world.home.state_file.read_bytes()), "it is in the published state")
    assert not score.violations


def test_core_files(world: World, score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller, keeper or bridge that crashes leaves no core file with a secret, though core files are allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    planted = Canaries()
    monkeypatch.chdir(tmp_path)
    world.light("app")
    env = world.home.sandbox("app").env_file
    lines = [f"OPENCODE_BIN={LIGHT_AGENT}", *(f"{key}={planted.make(key)}" for key in SECRET_KEYS)]
    env.write_text("\n".join(lines) + "\n")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        controller = world.start()
        bridge = world.ready("app")["bridge"]["pid"]
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    for victim in (psutil.Process(bridge).ppid(), bridge, controller.pid):
        process = psutil.Process(victim)
        score.tried()
        score.expect(process.rlimit(resource.RLIMIT_CORE)[0] == 0, f"{process.name()} {victim} may leave a core file")
        process.send_signal(signal.SIGABRT)
        psutil.wait_procs([process], timeout=30)
    controller.wait()
    world.controllers.clear()
    for path in [path for path in tmp_path.rglob("*") if path.is_file() and path != env]:
        score.expect(not planted.within(path.read_bytes()), f"a secret in {path}")
    assert not score.violations


def test_folders_within_folders(score: Score, tmp_path: Path) -> None:
    """A private folder is private with all the folders that had to be made above it, whatever the umask."""
    mask = os.umask(0)
    try:
        private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(mask)
    for made in ("a", "a/b", "a/b/c"):
        score.tried()
        score.expect((tmp_path / made).stat().st_mode & 0o077 == 0, f"{made} is open")
    assert not score.violations
