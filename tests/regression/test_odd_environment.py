"""An odd environment, a foreign home, an unforeseen error: it works, or one sentence says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler import settings
from reconciler.frontends.cli import main, unforeseen
from reconciler.frontends.cli.commands import list as listing
from reconciler.state import ownership, published

if TYPE_CHECKING:
    from tests.support.world import World

NO_SUCH_UID = 45_678


def refused(world: World, *arguments: str) -> str:
    """The one sentence that a command is refused with."""
    printed = world.run(*arguments, code=1)
    assert "Traceback" not in printed
    [sentence] = printed.splitlines()
    assert sentence.startswith("cannot ")
    return sentence


def test_environment_of_another_program_means_production(world: World) -> None:
    """`ENVIRONMENT=staging` is no reason to refuse anything: `run` says once what it is taken for."""
    world.environment["ENVIRONMENT"] = "staging"
    world.light("app", state="stopped")

    printed = world.run("run", "--once")

    assert printed.count("ENVIRONMENT='staging' is neither development nor production: it is taken as production") == 1
    assert "production mode" in printed
    assert "staging" not in world.run("list") + world.run("validate")


@pytest.mark.parametrize("variable", ["PORT", "AGENT_PORTS", "BRIDGE_PORTS", "AGENT_STARTS", "WEDGED", "LIVENESS"])
def test_a_wrong_setting_of_the_controller_does_not_hold_up_a_list(world: World, variable: str) -> None:
    """Only who needs it refuses it, by its name; a value of any length is cut."""
    world.environment[f"OPENCODE_MANAGER_{variable}"] = "9" * 5000

    world.run("list")

    sentence = refused(world, "run")
    assert sentence.startswith(f"cannot use OPENCODE_MANAGER_{variable}='999")
    assert len(sentence) < 200


@pytest.mark.parametrize(
    ("name", "value"), [("HOME", ""), ("HOME", None), ("PATH", None), ("TMPDIR", "/nowhere"), ("LC_ALL", "xx_YY.ascii")]
)
def test_a_project_comes_up_in_an_odd_environment(world: World, name: str, value: str | None) -> None:
    """As below a bare cron or a container."""
    world.environment.pop(name, None)
    if value is not None:
        world.environment[name] = value
    world.light("app")

    world.run("run", "--once")


@pytest.mark.parametrize(("home", "why"), [("relative", "that begins with /"), ("{root}/no/where", "no such folder")])
def test_a_home_that_cannot_be_used_is_refused_before_anything_is_made(world: World, home: str, why: str) -> None:
    """And named."""
    del world.environment["OPENCODE_MANAGER_HOME"]
    home = home.format(root=world.root)
    world.environment["HOME"] = home

    sentence = refused(world, "run", "--once")

    assert why in sentence
    assert home in sentence
    assert not Path(home).exists()


def test_a_user_without_an_entry_is_asked_to_set_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of users is a fake here: only its absence of an entry."""
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)

    with pytest.raises(settings.UserError, match=r"^cannot find a home folder: HOME is not set, and user \d+ has no"):
        settings.load(environment={})
    assert settings.load(environment={"HOME": "/somewhere"}).home.root == Path("/somewhere/.memory")


@pytest.mark.parametrize(("arguments", "code"), [(["list"], 0), (["run", "--once"], 0), (["--specs", "x", "list"], 1)])
def test_a_deleted_current_folder_is_no_traceback(world: World, arguments: list[str], code: int) -> None:
    """What needs no relative path works; what does says so."""
    gone = world.root / "gone"
    command = f"mkdir {gone} && cd {gone} && rmdir {gone} && exec {sys.executable} -m reconciler {' '.join(arguments)}"
    environment = {**world.environment, "PYTHONPATH": str(Path(main.__file__).parents[3])}
    world.light("app")

    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert ("cannot use the folder x: the current folder was deleted" in done.stderr) == bool(code)


@pytest.mark.parametrize("part", ["", "opencode-sandboxes", "opencode-sandboxes/app", "opencode-controller"])
@pytest.mark.parametrize("command", [("run", "--once"), ("stop", "app"), ("secrets", "app", "--generate")])
def test_the_home_of_another_user_is_refused_also_for_root(world: World, part: str, command: tuple[str, ...]) -> None:
    """Before anything is created: the owner could neither read nor replace it afterwards."""
    folder = world.home.root / part
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can give a folder away")
    os.chown(folder, NO_SUCH_UID, -1)
    before = sorted(world.home.root.rglob("*"))

    sentence = refused(world, *command)

    assert f"cannot use {folder}: it belongs to user {NO_SUCH_UID}, and this is user root" in sentence
    assert sorted(world.home.root.rglob("*")) == before
    world.run("list")


def test_an_ordinary_user_is_refused_the_home_of_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that is half theirs. Who they are is a fake here."""
    mine = settings.load(environment=world.environment)
    ownership.refuse_foreign_home(mine)  # it is not there yet, and so nobody's
    world.home.root.mkdir()
    ownership.refuse_foreign_home(mine)
    other = os.geteuid() + NO_SUCH_UID
    monkeypatch.setattr(os, "geteuid", lambda: other)

    with pytest.raises(settings.UserError, match=rf"^cannot use {world.home.root}: .* this is user {other}; run"):
        ownership.refuse_foreign_home(mine)


def test_an_error_that_nobody_foresaw_is_one_sentence_and_a_file(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its traceback is in the file, without what looks like a secret. The error is a fake one."""
    world.home.controller.mkdir(parents=True)
    monkeypatch.setenv(settings.HOME_VARIABLE, str(world.home.root))

    def fail(*_: object) -> None:
        raise ZeroDivisionError("password=hunter2hunter2")

    monkeypatch.setattr(listing, "run", fail)

    assert main.main(["list"]) == 1

    path = world.home.controller / "errors.log"
    said = capsys.readouterr().err
    expected = f"cannot go on: unexpected ZeroDivisionError, which is a bug; details in {path}; please report it"
    assert said.startswith(expected)
    assert len(said.splitlines()) == 1
    assert "Traceback" in path.read_text()
    assert "hunter2" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert published.read(world.home).projects == {}


def test_an_unforeseen_error_of_a_task_keeps_its_own_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by that of the group which it came in."""
    world.home.controller.mkdir(parents=True)
    monkeypatch.setenv(settings.HOME_VARIABLE, str(world.home.root))

    said = unforeseen.sentence(ExceptionGroup("of tasks", [ZeroDivisionError("unforeseen")]))

    assert said.startswith("cannot go on: unexpected ZeroDivisionError, which is a bug; details in ")
    assert "of tasks" in world.home.controller.joinpath("errors.log").read_text()


def test_an_unforeseen_error_before_there_is_a_home_is_written_elsewhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made in a home for it, and a file of another's is not followed."""
    monkeypatch.setenv(settings.HOME_VARIABLE, str(world.home.root))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(world.root))
    path = world.root / f"opencode-manager-{os.geteuid()}-errors.log"

    assert f"details in {path};" in unforeseen.sentence(ZeroDivisionError())
    path.unlink()
    path.symlink_to(world.root / "elsewhere")
    assert "no file could be written" in unforeseen.sentence(ZeroDivisionError())

    assert not world.home.root.exists()
    assert not world.root.joinpath("elsewhere").exists()


def test_a_right_setting_counts_though_another_is_wrong() -> None:
    environment = {"HOME": "/root", "OPENCODE_MANAGER_LIVENESS": "often", "OPENCODE_MANAGER_AGENT_PORTS": "4981-4989"}

    found = settings.load(environment=environment, needed=())

    assert (found.agent_ports, found.liveness) == ((4981, 4989), 10.0)
