"""The user's own story, on the real thing: OpenCode, the bridge, git over a real SSH server, MCP clients.

Start, waiting for the key, key added, success, work, status, restart, stop, start, destroy. Offline but for the
registries: the model behind OpenCode is ours.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reconciler.state import published
from tests.support import sshd
from tests.support.fakemodel import FakeModel, provider
from tests.support.frontends import connect, reach
from tests.support.world import Status, World, git, make_repository, read_env

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from mcp import Client
    from mcp_types import CallToolResult

pytestmark = [pytest.mark.xdist_group("opencode"), pytest.mark.long]
PATIENCE = 180.0


@pytest.fixture(name="model")
def _model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[sshd.SshServer]:
    """An SSH server that knows nobody's key yet."""
    with sshd.best()(tmp_path / "ssh") as server:
        yield server


@pytest.fixture(name="story")
def _story(real_world: World, model: FakeModel) -> World:
    """A world whose agents talk to our model, and whose user has a name in ~/.config/git/config alone."""
    settings = real_world.root / "user" / ".config" / "git" / "config"
    settings.parent.mkdir(parents=True)
    settings.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    real_world.environment["HOME"] = str(real_world.root / "user")
    real_world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url))
    real_world.environment["OPENCODE_MANAGER_LIVENESS"] = "1"
    return real_world


@contextlib.asynccontextmanager
async def manager(world: World) -> AsyncIterator[Client]:
    """A client of the controller."""

    def port() -> int:
        found = published.read(world.home).controller
        return found.http_port if found and published.read(world.home).running else 0

    async with connect(world, world.until(port, "the MCP endpoint"), patience=PATIENCE) as client:
        yield client


def parsed(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None, result.content
    return dict(result.structured_content)


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    return parsed(await client.call_tool(tool, arguments))


async def settled(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Ask until it is no longer in progress: a loaded machine may need more than one wait."""
    for _ in range(6):
        answer = await ask(client, tool, wait_seconds=60, **arguments)
        if answer["status"] != "in_progress":
            return answer
    raise AssertionError(answer)


async def test_the_whole_story_through_mcp(story: World, server: sshd.SshServer) -> None:
    """From nothing to a destroyed project, by tool calls alone."""
    origin = make_repository(story.root / "private")
    url = server.url(origin)
    story.start()
    async with manager(story) as client:
        waiting = await settled(client, "opencode_start", project_name="blog-api", git_url=url)
        assert waiting["status"] == "waiting_for_key"
        assert waiting["public_key"].startswith("ssh-ed25519 ")
        server.authorize(waiting["public_key"])

        started = await settled(client, "opencode_start", project_name="blog-api", git_url=url)
        assert started["status"] == "success", started
        assert started["generation"] == started["observed_generation"] == 1
        await prove_agent_and_bridge(story, started)
        assert git(origin, "log", "-1", "--format=%an <%ae>: %s", "agents") == "Ada <ada@example.org>: By the agent\n"

        status = await ask(client, "opencode_status", project_name="blog-api")
        assert (status["desired"], status["actual"]) == ("running", "running")
        assert status["opencode_pid"] == started["opencode_pid"]

        restarted = await settled(client, "opencode_restart", project_name="blog-api")
        assert restarted["status"] == "success"
        assert restarted["opencode_pid"] != started["opencode_pid"]
        assert restarted["mcp_tool_pid"] != started["mcp_tool_pid"]
        assert restarted["opencode_port"] == started["opencode_port"]

        stopped = await settled(client, "opencode_stop", project_name="blog-api")
        assert (stopped["status"], stopped["actual"]) == ("success", "stopped")
        assert "opencode_pid" not in stopped
        assert story.processes() == []

        again = await settled(client, "opencode_start", project_name="blog-api", git_url=url)
        assert again["status"] == "success"
        commit_unpushed(story)
        blocked = await settled(client, "opencode_destroy", project_name="blog-api", confirm="blog-api")
        assert blocked["status"] == "error"
        assert "Unpushed work" in blocked["message"]

        gone = await settled(
            client, "opencode_destroy", project_name="blog-api", confirm="blog-api", discard_unpushed=True
        )
        assert gone["status"] == "success"
        assert (await ask(client, "opencode_list"))["projects"] == []
    assert is_gone(story)


async def prove_agent_and_bridge(world: World, started: dict[str, Any]) -> None:
    """401 without the password and 200 with it; the bridge's tools work against the real server; the agent pushes."""
    env = read_env(world.home.sandbox("blog-api").env_file)
    health = f"{started['opencode_url']}/global/health"
    async with httpx2.AsyncClient() as http:
        assert (await http.get(health)).status_code == 401
        answer = await http.get(health, auth=("opencode", env["OPENCODE_SERVER_PASSWORD"]))
        assert answer.json()["healthy"]
    async with reach(started["mcp_tool_url"], env["MCP_TOOL_BEARER_TOKEN"], patience=PATIENCE) as bridge:
        names = {tool.name for tool in (await bridge.list_tools()).tools}
        assert {"opencode-server-health", "opencode-session-create", "opencode-session-message"} <= names
        session = (await ask(bridge, "opencode-session-create", title="First"))["sessionId"]
        path = world.home.sandbox("blog-api").repo / "made.txt"
        order = f"[[tool:write {json.dumps({'filePath': str(path), 'content': 'by the agent'})}]]"
        said = await ask(bridge, "opencode-session-message", sessionId=session, content=order, waitSeconds=120)
        assert said["state"] == "done", said
        assert path.read_text() == "by the agent"
        assert "made.txt" in json.dumps(await ask(bridge, "opencode-vcs-diff"))
        command = "git add made.txt && git commit -q -m 'By the agent' && git push -q origin HEAD:refs/heads/agents"
        order = f"[[tool:bash {json.dumps({'command': command, 'description': 'Publish it'})}]]"
        said = await ask(bridge, "opencode-session-message", sessionId=session, content=order, waitSeconds=120)
        assert said["state"] == "done", said


def commit_unpushed(world: World) -> None:
    repo = world.home.sandbox("blog-api").repo
    repo.joinpath("work.py").write_text("work = True\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "Unpushed work")


def by_hand(world: World, text: str) -> None:
    """Save the spec with an editor."""
    world.write("blog-api", text)


def by_git(world: World, text: str) -> None:
    """Commit the spec elsewhere, and check that commit out in the specs folder."""
    upstream = world.root / "upstream"
    if not upstream.exists():
        upstream.mkdir()
        git(upstream, "init", "-q", "-b", "main")
        git(world.specs, "init", "-q")
        git(world.specs, "remote", "add", "origin", str(upstream))
    upstream.joinpath("blog-api.yaml").write_text(text)
    git(upstream, "add", ".")
    git(upstream, "commit", "-q", "-m", "What is wanted now")
    git(world.specs, "fetch", "-q", "origin")
    git(world.specs, "checkout", "-q", "origin/main")


def begin(story: World, server: sshd.SshServer, put: Callable[[World, str], None]) -> tuple[str, Status]:
    """Ask for a project whose key the server does not know yet; the spec's first lines, and its status once it runs."""
    git_line = f"# My own file\ngit: {{url: {server.url(make_repository(story.root / 'private'))}}}\n"
    put(story, git_line)
    story.start()
    waiting = story.wait("blog-api", lambda status: status["reason"] == "WaitingForKey", PATIENCE)
    assert f"{story.home.deploy_key('blog-api')}.pub" in waiting["message"]
    server.authorize(waiting["public_key"])
    put(story, f"{git_line}# The key is there.\n")
    started = story.wait("blog-api", lambda status: status["reason"] == "Running", PATIENCE)
    assert started["agent"]["restarts"] == 0
    assert f"port {started['agent']['port']}" in story.run("status", "blog-api")
    return git_line, started


def end(story: World, git_line: str, put: Callable[[World, str], None]) -> None:
    """Ask for its end, which unpushed work is in the way of at first."""
    commit_unpushed(story)
    put(story, f"{git_line}state: absent\n")
    blocked = story.wait("blog-api", lambda status: status["reason"] == "DestroyBlocked", PATIENCE)
    assert "Unpushed work" in blocked["message"]
    put(story, f"{git_line}state: absent\ndiscard_unpushed: true\n")


def is_gone(story: World) -> bool:
    """Whether nothing is left of it but its spec."""
    left = (story.home.sandbox("blog-api").path, story.home.deploy_key("blog-api"))
    return not any(path.exists() for path in left) and story.processes() == []


def live(story: World, git_line: str, started: Status, put: Callable[[World, str], None]) -> None:
    """A restart, a stop and a start."""
    put(story, f"{git_line}restarted_at: '2026-11-26T12:00'\n")
    before = {started[service]["pid"] for service in ("agent", "bridge")}

    def is_new(status: Status) -> bool:
        return status["reason"] == "Running" and before.isdisjoint({status["agent"]["pid"], status["bridge"]["pid"]})

    restarted = story.wait("blog-api", is_new, PATIENCE)
    assert restarted["agent"]["port"] == started["agent"]["port"]
    assert restarted["agent"]["restarts"] == 0

    put(story, f"{git_line}state: stopped\n")
    story.wait("blog-api", lambda status: status["reason"] == "Stopped", PATIENCE)
    assert story.processes() == []
    put(story, git_line)
    story.wait("blog-api", lambda status: status["reason"] == "Running", PATIENCE)


def test_the_same_story_by_hand(story: World, server: sshd.SshServer) -> None:
    """The key that is added is enough; a restart, a stop, a start and a destroy are edits of the spec."""
    git_line, started = begin(story, server, by_hand)
    live(story, git_line, started, by_hand)
    end(story, git_line, by_hand)
    story.until(lambda: not story.status("blog-api"), "a project that is gone", PATIENCE)
    assert is_gone(story)
    assert not story.specs.joinpath("blog-api.yaml").exists()


def test_the_same_story_by_git(story: World, server: sshd.SshServer) -> None:
    """All that is wanted are commits, and a spec that git tracks is a person's to remove."""
    git_line, started = begin(story, server, by_git)
    live(story, git_line, started, by_git)
    end(story, git_line, by_git)
    gone = story.wait("blog-api", lambda status: status["reason"] == "Destroyed", PATIENCE)
    assert "tracked by git" in gone["message"]
    assert "tracked by git" in story.run("status", "blog-api")
    assert is_gone(story)
    assert story.specs.joinpath("blog-api.yaml").exists()


def test_a_tool_changes_one_line_of_a_file_written_by_hand(world: World) -> None:
    """Comments and order stay."""
    world.light("api")
    written = world.specs.joinpath("api.yaml").read_text()
    world.write("api", f"# My own file\nstate: stopped\n{written}")
    world.start()
    world.wait("api", lambda status: status["reason"] == "Stopped")

    shown = world.run("start", "api")

    assert "Status: success" in shown
    assert world.specs.joinpath("api.yaml").read_text() == f"# My own file\nstate: running\n{written}"
