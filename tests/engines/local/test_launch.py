"""What a service is given: arguments that everybody may read, and an environment made from an allow-list."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import settings as settings_module
from reconciler.core import spec
from reconciler.core.observed import Service
from reconciler.engines.local import launch
from reconciler.engines.local.launch import LaunchContext
from reconciler.engines.local.secrets.agent_secrets import AgentSecret
from reconciler.engines.local.secrets.env_file import Env
from reconciler.engines.local.services import _prepare_agent
from reconciler.settings import UserError

PASSWORD, TOKEN = "password-0123456789", "token-0123456789"


def _with_key(name: str, value: str) -> Env:
    keys = {name: AgentSecret(value, Path("/file"))}
    return Env(exists=True, server_password=PASSWORD, bearer_token=TOKEN, agent_secrets=keys)


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> LaunchContext:
    environment = {
        "HOME": str(tmp_path / "user"),
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "AWS_SECRET_ACCESS_KEY": "not for agents",
        settings_module.HOME_VARIABLE: str(tmp_path / "home"),
    }
    return LaunchContext(
        name="app",
        settings=settings_module.load(environment=environment),
        spec=spec.parse({"git": {"url": "git@example.org:a/b.git"}, "agent": {"env": {"EDITOR": "vi"}}}),
        env=Env(exists=True, server_password=PASSWORD, bearer_token=TOKEN),
        ports={"agent": 4101, "bridge": 5101},
        key=tmp_path / "key",
    )


def test_no_secret_is_in_any_argument(project: LaunchContext) -> None:
    """Everybody can read those."""
    for service in Service:
        argv = " ".join(launch.launch(project, service, "/bin/opencode").argv)

        assert PASSWORD not in argv
        assert TOKEN not in argv


def test_the_agent_gets_its_password_and_never_the_bridges_token(project: LaunchContext) -> None:
    """Nor anything of the controller's that is not on the list."""
    env = launch.launch(project, Service.AGENT, "/bin/opencode").env

    assert env["OPENCODE_SERVER_PASSWORD"] == PASSWORD
    assert TOKEN not in env.values()
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert (env["EDITOR"], env["GIT_SSH_COMMAND"]) == ("vi", project.ssh_command)


def test_a_secret_of_the_agent_is_its_alone_and_a_changed_one_restarts_it(project: LaunchContext) -> None:
    """Not in the bridge's environment, in no argument, and in no digest to be read."""
    one, two = (replace(project, env=_with_key("CORP_KEY", value)) for value in ("value-one", "value-two"))
    agent, bridge = (launch.launch(one, service, "/bin/opencode") for service in Service)

    assert agent.env["CORP_KEY"] == "value-one"
    assert "value-one" not in "".join((*bridge.env.values(), *bridge.argv, *agent.argv, agent.digest, repr(one.place)))
    assert launch.digest(one, Service.AGENT) != launch.digest(two, Service.AGENT)
    assert launch.digest(one, Service.BRIDGE) == launch.digest(two, Service.BRIDGE)


def test_the_agents_folders_are_its_own(project: LaunchContext) -> None:
    """HOME, XDG and TMPDIR are in the sandbox."""
    env = launch.launch(project, Service.AGENT, "/bin/opencode").env
    sandbox = str(project.sandbox.path)

    names = ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR")
    assert all(env[name].startswith(f"{sandbox}/") for name in names)


def test_the_operators_configuration_wins_over_ours(project: LaunchContext) -> None:
    """And ours stays where it says nothing; updates of itself are off."""
    settings = replace(
        project.settings,
        environment={**project.settings.environment, "OPENCODE_CONFIG_CONTENT": '{"share": "manual", "model": "a/b"}'},
    )

    env = launch.launch(replace(project, settings=settings), Service.AGENT, "/bin/opencode").env

    assert json.loads(env["OPENCODE_CONFIG_CONTENT"]) == {"autoupdate": False, "share": "manual", "model": "a/b"}
    assert env["OPENCODE_DISABLE_AUTOUPDATE"] == "1"


@pytest.mark.parametrize(
    ("changes", "restarted"),
    [
        ({"env": Env(exists=True, server_password="another-0123456789", bearer_token=TOKEN)}, {"agent", "bridge"}),
        ({"env": Env(exists=True, server_password=PASSWORD, bearer_token="another-0123456789")}, {"bridge"}),
        ({"key": Path("/other")}, {"agent"}),
        ({"env": _with_key("A", "1")}, {"agent"}),
        ({"ports": {"agent": 4102, "bridge": 5101}}, {"agent", "bridge"}),
        ({"ports": {"agent": 4101, "bridge": 5102}}, {"bridge"}),
        ({"spec": spec.parse({"git": {"url": "git@example.org:a/b.git"}, "restarted_at": "now"})}, {"agent", "bridge"}),
        ({"spec": spec.parse({"git": {"url": "git@example.org:a/b.git"}, "idle_timeout": "2h"})}, {"agent"}),
    ],
)
def test_a_change_restarts_just_what_depends_on_it(
    project: LaunchContext, changes: dict[str, Any], restarted: set[str]
) -> None:
    """The last one removes agent.env; idle_timeout itself restarts nothing."""
    changed = replace(project, **changes)

    differing = {s.value for s in Service if launch.digest(project, s) != launch.digest(changed, s)}

    assert differing == restarted


def test_a_fields_that_needs_no_restart_changes_no_digest(project: LaunchContext) -> None:
    """Limits and idle_timeout are acted on without one."""
    quiet = project.spec.model_copy(update={"idle_timeout": "2h"})

    assert launch.digest(project, Service.AGENT) == launch.digest(replace(project, spec=quiet), Service.AGENT)


def test_the_users_node_tool_gets_its_password_in_a_private_file(project: LaunchContext, tmp_path: Path) -> None:
    """Its own option would put it into argv."""
    script = tmp_path / "tool" / "dist" / "index-http.js"
    script.parent.mkdir(parents=True)
    script.touch()
    project.sandbox.run.mkdir(parents=True)
    project = replace(project, env=replace(project.env, mcp_tool_dir=str(tmp_path / "tool")))

    job = launch.launch(project, Service.BRIDGE, "")

    config = project.sandbox.run / "mcp-tool-servers.json"
    assert str(config) in job.argv
    assert config.stat().st_mode & 0o077 == 0
    assert json.loads(config.read_text())["servers"][0]["password"] == PASSWORD
    assert job.env["MCP_BEARER_TOKEN"] == TOKEN


def test_a_node_tool_that_was_not_built_is_named(project: LaunchContext, tmp_path: Path) -> None:
    """With what to do."""
    project = replace(project, env=replace(project.env, mcp_tool_dir=str(tmp_path)))

    with pytest.raises(UserError, match=r"cannot run the tool in MCP_TOOL_DIR.*npm ci"):
        launch.launch(project, Service.BRIDGE, "")


def test_an_agent_finds_logins_and_an_empty_tmp(project: LaunchContext, tmp_path: Path) -> None:
    """A copy of the user's, no copy of the user's name any more, and nothing in TMPDIR of an earlier run."""
    auth = tmp_path / "user" / ".local" / "share" / "opencode" / "auth.json"
    auth.parent.mkdir(parents=True)
    auth.write_text('{"p": {"type": "api", "key": "k"}}')
    for folder in (project.sandbox.tmp, project.sandbox.home, project.sandbox.xdg / "data"):
        folder.mkdir(parents=True)
    (project.sandbox.home / ".gitconfig").write_text('[user]\n\tname = "Ada \\"L\\""\n\temail = "ada@example.org"\n')
    (project.sandbox.tmp / "left.so").touch()
    (project.sandbox.tmp / "folder").mkdir()

    _prepare_agent(project)

    copy = project.sandbox.xdg / "data" / "opencode" / "auth.json"
    assert json.loads(copy.read_text()) == json.loads(auth.read_text())
    assert (copy.is_symlink(), copy.stat().st_mode & 0o777) == (False, 0o600)
    assert list(project.sandbox.tmp.iterdir()) == []
    assert not (project.sandbox.home / ".gitconfig").exists()


@pytest.mark.parametrize("what", ["tmp itself", "a folder in it", "a file in it", "above the locks"])
def test_nothing_is_deleted_through_a_link(project: LaunchContext, tmp_path: Path, what: str) -> None:
    """Whoever put it there: the agent itself can."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("all of it")
    project.sandbox.home.mkdir(parents=True)
    (project.sandbox.xdg / "data").mkdir(parents=True)
    if what == "above the locks":
        locks = project.driver.leftovers(project.place)[0]
        locks.parent.parent.mkdir(parents=True)
        locks.parent.symlink_to(precious)
        precious = precious / locks.name
        precious.mkdir()
        (precious / "thesis.tex").write_text("all of it")
    if what == "tmp itself":
        project.sandbox.tmp.symlink_to(precious)
    else:
        project.sandbox.tmp.mkdir(exist_ok=True)
        (project.sandbox.tmp / "link").symlink_to(precious if "folder" in what else precious / "thesis.tex")

    _prepare_agent(project)

    assert (precious / "thesis.tex").read_text() == "all of it"
    assert what == "tmp itself" or list(project.sandbox.tmp.iterdir()) == []


def test_our_own_bridge_leaves_no_password_of_the_users_tool(project: LaunchContext) -> None:
    """Which ran before it, and had it in a file."""
    project.sandbox.run.mkdir(parents=True)
    config = project.sandbox.run / "mcp-tool-servers.json"
    config.write_text(PASSWORD)

    launch.launch(project, Service.BRIDGE, "")

    assert not config.exists()


def test_a_spec_cannot_switch_off_what_the_manager_insists_on(project: LaunchContext) -> None:
    """Updates of its own, above all."""
    loud = project.spec.model_copy(update={"agent": project.spec.agent.model_copy(update={"env": {"OPENCODE_X": "1"}})})

    env = launch.launch(replace(project, spec=loud), Service.AGENT, "/bin/opencode").env

    assert (env["OPENCODE_X"], env["OPENCODE_DISABLE_AUTOUPDATE"]) == ("1", "1")


@pytest.mark.parametrize(
    ("said", "restarted"),
    [
        ({"confinement": "auto", "confinement_allow": {}}, False),
        ({"confinement": "bubblewrap"}, True),
        ({"confinement": "none"}, True),
        ({"confinement_allow": {"read": ["/srv/data"]}}, True),
    ],
)
def test_an_agent_is_restarted_for_another_confinement(
    project: LaunchContext, said: dict[str, Any], *, restarted: bool
) -> None:
    """And the bridge never; what auto comes to on this machine restarts nobody, as after an upgrade."""
    changed = replace(project, spec=spec.parse({"git": {"url": project.spec.git.url}} | said))
    plain = replace(project, spec=spec.parse({"git": {"url": project.spec.git.url}}))
    same = {each: launch.digest(plain, each) == launch.digest(changed, each) for each in Service}

    assert same == {Service.AGENT: not restarted, Service.BRIDGE: True}
