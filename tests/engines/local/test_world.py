"""The world of an agent: what it is given, where that comes from, and what stays out and why."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler import settings as settings_module
from reconciler.core import spec
from reconciler.engines.local.launch import LaunchContext
from reconciler.engines.local.secrets.agent_secrets import AgentSecret
from reconciler.engines.local.secrets.env_file import Env
from reconciler.engines.local.world import shell_path, tools, world
from reconciler.engines.local.world.shell_path import ShellPath

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> LaunchContext:
    user = tmp_path / "user"
    user.mkdir()
    environment = {"HOME": str(user), "PATH": "/usr/bin:/bin", settings_module.HOME_VARIABLE: str(tmp_path / "home")}
    agent = {"path": ["~/tools", "/opt/x"], "env": {"CORP_KEY": "of the spec"}}
    project = LaunchContext(
        name="app",
        settings=settings_module.load(environment=environment),
        spec=spec.parse({"git": {"url": "/srv/app"}, "agent": agent}),
        env=Env(exists=True, server_password="password-0123456789", bearer_token="token-0123456789"),
        ports={"agent": 4101, "bridge": 5101},
        key=None,
    )
    for folder in (project.sandbox.home, project.sandbox.xdg):
        folder.mkdir(parents=True)
    return project


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def with_shell(project: LaunchContext, text: str, mode: int = 0o755) -> LaunchContext:
    """Give the user a login shell of ours."""
    shell = write(project.settings.home.root.parent / "shell", text)
    shell.chmod(mode)
    environment = {**project.settings.environment, "SHELL": str(shell)}
    return replace(project, settings=replace(project.settings, environment=environment))


def test_each_variable_says_where_it_comes_from_and_a_secret_wins(project: LaunchContext, tmp_path: Path) -> None:
    """Its value is in the environment, and shown nowhere."""
    keys = {"CORP_KEY": AgentSecret("of-the-file", tmp_path / ".env")}

    found = world.build(replace(project, env=replace(project.env, agent_secrets=keys)))

    by_name = {one.name: one for one in found.variables}
    assert len(by_name) == len(found.variables)
    assert (by_name["CORP_KEY"].origin, by_name["CORP_KEY"].secret) == (str(tmp_path / ".env"), True)
    assert by_name["OPENCODE_SERVER_PASSWORD"].secret
    assert found.environment()["CORP_KEY"] == "of-the-file"
    assert not any(secret in repr(found) for secret in ("of-the-file", "password-0123456789"))


@pytest.mark.parametrize(
    ("controllers", "shells", "expected"),
    [
        ("/usr/bin:/bin", ("/u/.cargo/bin", "/usr/bin", "/bin"), "/first:/u/.cargo/bin:/usr/bin:/bin"),
        ("/venv/bin:/usr/bin", ("/u/bin", "/usr/bin"), "/first:/venv/bin:/u/bin:/usr/bin"),
        ("/usr/bin::/bin", (), "/first:/usr/bin:/bin"),
        ("", ("/usr/bin",), "/first:/usr/bin"),
    ],
    ids=["started by systemd", "started in a virtual environment", "no login shell", "no PATH"],
)
def test_the_path_is_that_of_the_login_shell(controllers: str, shells: tuple[str, ...], expected: str) -> None:
    """Folders of the spec come first, and each once."""
    assert shell_path.merged(("/first",), controllers, ShellPath(shells)) == expected


async def test_a_real_login_shell_is_asked_once(project: LaunchContext, tmp_path: Path) -> None:
    """Whatever its files print; and a controller that comes later knows it."""
    write(tmp_path / "user" / ".bash_profile", 'echo "Welcome PATH=/wrong"\nexport PATH="$HOME/.cargo/bin:$PATH"\n')
    environment = {**project.settings.environment, "SHELL": "/bin/bash"}
    project = replace(project, settings=replace(project.settings, environment=environment))
    assert shell_path.known(project.settings) is None

    found = await shell_path.refresh(project.settings)

    user = tmp_path / "user"
    assert (found.folders[0], found.problem) == (f"{user}/.cargo/bin", "")
    assert {"/usr/bin", "/bin"} < set(found.folders)
    assert shell_path.known(project.settings) == found
    path = world.build(project).environment()["PATH"].split(":")
    assert path[:3] == [f"{user}/tools", "/opt/x", f"{user}/.cargo/bin"]


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("#!/bin/sh\nexec sleep 1000\n", 0o755, "did not end within"),
        ("#!/bin/sh\necho nothing\n", 0o755, "did not say its PATH"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
    ],
)
async def test_a_shell_that_does_not_answer_is_done_without_and_named(
    project: LaunchContext, monkeypatch: pytest.MonkeyPatch, text: str, mode: int, why: str
) -> None:
    """The agent has the controller's PATH, and its status says so, with what to do."""
    monkeypatch.setattr(shell_path, "LIMIT", 0.2)
    project = with_shell(project, text, mode)

    found = await shell_path.refresh(project.settings)

    assert (found.folders, why in found.problem) == ((), True)
    [warning] = world.build(project).warnings()
    assert "the PATH of your login shell" in warning
    assert "agent.path in the spec" in warning
    assert world.build(project).environment()["PATH"].endswith("/opt/x:/usr/bin:/bin")


async def test_a_user_who_may_not_log_in_has_no_such_path(project: LaunchContext) -> None:
    """As in many containers and for users of services."""
    environment = {**project.settings.environment, "SHELL": "/usr/sbin/nologin"}

    found = await shell_path.refresh(replace(project.settings, environment=environment))

    assert "no login shell" in found.problem


def test_settings_of_tool_chains_are_copied_without_credentials(project: LaunchContext, tmp_path: Path) -> None:
    """A reference to a variable is none, nor is a comment. What is installed stays in place."""
    user = tmp_path / "user"
    write(
        user / ".npmrc", "registry=https://npm.corp.example/\n# _authToken=x\n//npm.corp.example/:_authToken=${NPM}\n"
    )
    write(user / ".yarnrc", "//npm.example/:_authToken=abc\n")
    write(user / ".m2" / "settings.xml", "<server><password>hunter2</password></server>")
    write(user / ".config" / "pip" / "pip.conf", "[global]\nindex-url = https://me:pw@pypi.corp.example/simple\n")
    write(user / ".config" / "go" / "env", "GOPROXY=https://go.corp.example\n")
    write(user / ".cargo" / "config.toml", "x" * 2**19)
    write(user / ".aws" / "credentials")
    (user / ".rustup").mkdir()

    found = world.install(project)

    sandbox = project.sandbox
    assert (sandbox.home / ".npmrc").read_text() == (user / ".npmrc").read_text()
    assert (sandbox.xdg / "config" / "go" / "env").read_text() == "GOPROXY=https://go.corp.example\n"
    copied = {path.name for path in (*sandbox.home.rglob("*"), *sandbox.xdg.rglob("*")) if path.is_file()}
    assert copied == {".npmrc", "env"}
    left_out = {os.path.relpath(one.what, user): one.why for one in found.left_out}
    assert {".yarnrc", ".m2/settings.xml", ".config/pip/pip.conf", ".aws", ".cargo/config.toml"} == set(left_out)
    assert "opencode-manager secrets NAME KEY" in left_out[".aws"]
    assert found.environment()["RUSTUP_HOME"] == str(user / ".rustup")
    assert [(one.place, one.how) for one in found.files if one.source == user / ".rustup"] == [
        (user / ".rustup", "read-only")
    ]
    assert "hunter2" not in repr(found)


def test_the_rows_of_tool_chains_do_not_overlap() -> None:
    """What is handed over is no credential and no cache."""
    rows = [*tools.SETTINGS, *(name for _, name in tools.INSTALLED), *tools.CREDENTIALS, *tools.CACHES]

    assert len(set(rows)) == len(rows)
    assert not any(row.startswith("/") for row in rows)
