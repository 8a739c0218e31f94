"""Commands that wait for and act on several projects, with a real controller and light agents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.e2e.test_cli import spawned, until_line
from tests.support.world import World, a_world, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_YET = 2


@pytest.fixture(name="team", scope="module")
def _team(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]) -> Iterator[World]:
    """Two projects of one team, and one that never becomes ready."""
    with a_world(tmp_path_factory.mktemp("team"), ports) as world:
        world.light("web-a", labels="{team: web}")
        world.light("web-b", labels="{team: web}", state="stopped")
        world.light("deaf", mode="deaf")
        world.start()
        world.ready("web-a")
        world.ready("web-b")
        yield world


def test_a_script_waits_for_what_it_needs(team: World) -> None:
    """0 when it is there, 2 when it is not in time, 1 where it can never be; and each is one line."""
    assert team.run("wait", "web-a") == "web-a: ready\n"
    assert team.run("wait", "web-b", "--for", "stopped") == "web-b: stopped\n"
    assert team.run("wait", "web-a", "--for", "condition=stalled=false") == "web-a: Stalled=false\n"
    assert team.run("wait", "web-*", "--for", "stopped").splitlines()[0] == "web-a: its spec says running"
    assert "deaf: not ready after " in team.run("wait", "deaf", "--timeout", "1s", code=NOT_YET)
    assert "did you mean web-" in team.run("wait", "web-x", code=1)
    assert "cannot wait for 'up'" in team.run("wait", "web-a", "--for", "up", code=1)


def test_an_agent_at_work_is_not_idle(team: World) -> None:
    """It says so itself, to nobody but who has the password."""
    work = team.root / "work"
    work.touch()
    team.light("at-work", mode=f"at={work}")
    team.run("wait", "at-work")
    assert "at-work: not idle after " in team.run("wait", "at-work", "--for", "idle", "--timeout", "0.5", code=NOT_YET)

    with spawned(team, "wait", "at-work", "--for", "idle") as program:
        work.unlink()
        until_line(program, "at-work: idle")

    team.run("stop", "at-work")


def test_a_wait_is_for_the_spec_as_it_is_now(team: World) -> None:
    """Not for what was published before it was written."""
    team.run("set", "web-b", "state=running")
    assert team.run("wait", "web-*").splitlines()[:2] == ["web-a: ready", "web-b: ready"]
    assert team.status("web-b")["actual"] == "running"
    team.run("set", "web-b", "state=stopped")
    assert team.run("wait", "web-b", "--for", "stopped").splitlines()[0] == "web-b: stopped"


def test_labels_and_patterns_choose_what_is_listed_and_changed(team: World) -> None:
    """In each format."""
    assert team.run("list", "-l", "team=web", "-o", "name", code=None).split() == ["web-a", "web-b"]
    lines = team.run("list", "web-*", "-o", "jsonl", code=None).splitlines()
    assert [json.loads(line)["labels"] for line in lines] == [{"team": "web"}] * 2
    wide = team.run("list", "web-a", "-o", "wide")
    assert "team=web" in wide
    assert "LABELS" in wide.splitlines()[0]
    assert team.run("list", "web-a", "--no-headers").startswith("web-a ")
    assert "there are none" in team.run("list", "-l", "team=app", code=1)

    printed = team.run("stop", "-l", "team=web")

    assert [line.split()[:3] for line in printed.splitlines()[:3]] == [
        ["PROJECT", "STATUS", "REASON"],
        ["web-a", "success", "Stopped"],
        ["web-b", "success", "Stopped"],
    ]
    assert [team.status(name)["actual"] for name in ("web-a", "web-b")] == ["stopped", "stopped"]
    team.run("start", "web-a")


def test_usage_is_measured_for_each_project(team: World) -> None:
    """For people with a sum; for programs as numbers."""
    team.run("wait", "web-a")
    printed = team.run("top", "web-*", "--disk", "--sort", "name")
    assert printed.splitlines()[0].split()[:3] == ["PROJECT", "CPU", "MEMORY"]
    assert [line.split()[0] for line in printed.splitlines()[1:]] == ["web-a", "web-b", "total"]

    [row] = json.loads(team.run("top", "web-a", "-o", "json"))

    assert row["running"]
    assert row["memory"] > 1 << 20
    assert row["tasks"] >= 2
    assert set(row["parts"]) == {"agent", "bridge"}


def test_a_description_is_what_a_bug_report_needs_and_no_secret(team: World) -> None:
    """For people and for programs."""
    team.run("set", "web-a", "agent.env.PROXY=http://me:canary-secret@proxy")
    team.run("wait", "web-a")

    printed = team.run("describe", "web-a")
    data = yaml.safe_load(team.run("describe", "web-a", "-o", "yaml"))

    assert [
        title
        for title in ("Versions:", "Spec in force:", "Environment of the agent:", "Last events")
        if title not in printed
    ] == []
    assert data["status"]["actual"] == "running"
    assert data["versions"]["controller"] == data["versions"]["manager"]
    assert 0 < len(data["events"]) <= 20
    assert data["difference"] == []
    assert [line for line in data["variables"] if line.startswith("HOME=")]
    assert "PROXY=[redacted]  (agent.env of the spec)" in data["variables"]
    env = read_env(team.home.sandbox("web-a").env_file)
    secrets = ("canary-secret", env["OPENCODE_SERVER_PASSWORD"], env["MCP_TOOL_BEARER_TOKEN"])
    assert [secret for secret in secrets if secret in f"{printed}{data}"] == []


def test_logs_of_several_projects_are_read_at_once(team: World) -> None:
    """Each line says whose it is; what is young enough is shown, and what steers terminals never."""
    old, new = "2001-01-01T00:00:00Z old\n", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} \x1b[2Jnew\n"
    for name in ("web-a", "web-b"):
        with team.home.log_file(name, "agent").open("a") as log:
            log.write(f"{old}{new}")

    printed = team.run("logs", "web-*", "-n", "2").splitlines()
    young = team.run("logs", "web-*", "--since", "1h", "--timestamps").splitlines()

    assert [line.split()[0] for line in printed] == ["web-a", "web-a", "web-b", "web-b"]
    assert printed[0] == "web-a  2001-01-01T00:00:00Z old"
    assert [line.split()[0] for line in young] == ["web-a", "web-b"]
    assert all(line.endswith("\u241b[2Jnew") for line in young)
    assert "no such project; did you mean web-" in team.run("logs", "web-a", "web-x", code=1)
    team.light("web-new", state="stopped")
    team.run("wait", "web-new", "--for", "stopped")
    everywhere = team.run("logs", "--all", "-n", "1")
    assert "note: cannot show the log of web-new: there is no " in everywhere
    assert {"web-a", "web-b", "note:"} <= {line.split()[0] for line in everywhere.splitlines()}
    with spawned(team, "logs", "web-b", "web-a", "-f", "-n", "1") as program:
        until_line(program, "web-b  ")  # from then on it is followed
        with team.home.log_file("web-b", "agent").open("a") as log:
            log.write("once more\n")
        until_line(program, "web-b  once more")


def test_without_a_controller_nobody_waits(world: World) -> None:
    """Whatever it was for, it would never come."""
    world.light("app")

    assert "cannot wait for app: no controller is running" in world.run("wait", "app", "--timeout", "0.5", code=1)
