"""The user's own story, on the real thing: OpenCode, the bridge, git over a real SSH server, MCP clients.

Start, waiting for the key, key added, success, work, status, restart, stop, start, destroy. Offline but for the
registries: the model behind OpenCode is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from reconciler import published
from tests.support import sshd
from tests.support.fakemodel import FakeModel, provider
from tests.support.world import Status, World, git, make_repository, read_env

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from mcp_types import CallToolResult

pytestmark = pytest.mark.xdist_group("opencode")
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
    """A world whose agents talk to our model."""
    real_world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url))
    real_world.environment["OPENCODE_MANAGER_LIVENESS"] = "1"
    return real_world


@contextlib.asynccontextmanager
async def connected(url: str, token: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def manager(world: World) -> AsyncIterator[Client]:
    """A client of the controller."""

    def port() -> int:
        found = published.read(world.home).controller
        return found.http_port if found and published.read(world.home).running else 0

    url = f"http://127.0.0.1:{world.until(port, 'the MCP endpoint')}/mcp"
    async with connected(url, (world.home.controller / "token").read_text().strip()) as client:
        yield client


def told(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None, result.content
    return dict(result.structured_content)


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    return told(await client.call_tool(tool, arguments))


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

        status = await ask(client, "opencode_status", project_name="blog-api")
        assert (status["desired"], status["actual"]) == ("running", "running")
        assert status["opencode_pid"] == started["opencode_pid"]

        restarted = await settled(client, "opencode_restart", project_name="blog-api")
        assert restarted["status"] == "success"
        assert restarted["opencode_pid"] != started["opencode_pid"]
        assert restarted["mcp_tool_pid"] != started["mcp_tool_pid"]
        assert restarted["opencode_port"] == started["opencode_port"]

        stopped = await settled(client, "opencode_stop", project_name="blog-api")
        assert (stopped["status"], stopped["actual"], stopped["opencode_pid"]) == ("success", "stopped", None)
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
    assert not story.home.sandbox("blog-api").path.exists()
    assert not story.home.deploy_key("blog-api").exists()
    assert story.processes() == []


async def prove_agent_and_bridge(world: World, started: dict[str, Any]) -> None:
    """401 without the password and 200 with it; the bridge's tools work against the real server."""
    env = read_env(world.home.sandbox("blog-api").env_file)
    health = f"{started['opencode_url']}/global/health"
    async with httpx2.AsyncClient() as http:
        assert (await http.get(health)).status_code == 401
        answer = await http.get(health, auth=("opencode", env["OPENCODE_SERVER_PASSWORD"]))
        assert answer.json()["healthy"]
    async with connected(started["mcp_tool_url"], env["MCP_TOOL_BEARER_TOKEN"]) as bridge:
        names = {tool.name for tool in (await bridge.list_tools()).tools}
        assert {"opencode-server-health", "opencode-session-create", "opencode-session-message"} <= names
        session = (await ask(bridge, "opencode-session-create", title="First"))["sessionId"]
        path = world.home.sandbox("blog-api").repo / "made.txt"
        order = f"[[tool:write {json.dumps({'filePath': str(path), 'content': 'by the agent'})}]]"
        said = await ask(bridge, "opencode-session-message", sessionId=session, content=order, waitSeconds=120)
        assert said["state"] == "done", said
        assert path.read_text() == "by the agent"
        assert "made.txt" in json.dumps(await ask(bridge, "opencode-vcs-diff"))
    path.unlink()


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


@pytest.mark.parametrize("put", [by_hand, by_git])
def test_the_same_story_without_any_tool(
    story: World, server: sshd.SshServer, put: Callable[[World, str], None]
) -> None:
    """The key that is added is enough; a restart, a stop, a start and a destroy are edits of the spec."""
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

    put(story, f"{git_line}restarted_at: '2026-11-26T12:00'\n")
    before = {started[service]["pid"] for service in ("agent", "bridge")}

    def is_anew(status: Status) -> bool:
        return status["reason"] == "Running" and before.isdisjoint({status["agent"]["pid"], status["bridge"]["pid"]})

    restarted = story.wait("blog-api", is_anew, PATIENCE)
    assert restarted["agent"]["port"] == started["agent"]["port"]
    assert restarted["agent"]["restarts"] == 0

    put(story, f"{git_line}state: stopped\n")
    story.wait("blog-api", lambda status: status["reason"] == "Stopped", PATIENCE)
    assert story.processes() == []
    put(story, git_line)
    story.wait("blog-api", lambda status: status["reason"] == "Running", PATIENCE)

    commit_unpushed(story)
    put(story, f"{git_line}state: absent\n")
    blocked = story.wait("blog-api", lambda status: status["reason"] == "DestroyBlocked", PATIENCE)
    assert "Unpushed work" in blocked["message"]
    put(story, f"{git_line}state: absent\ndiscard_unpushed: true\n")
    if put is by_git:  # what git tracks is a person's to remove
        gone = story.wait("blog-api", lambda status: status["reason"] == "Destroyed", PATIENCE)
        assert "tracked by git" in gone["message"]
        assert "tracked by git" in story.run("status", "blog-api")
        assert story.specs.joinpath("blog-api.yaml").exists()
    else:
        story.until(lambda: not story.status("blog-api"), "a project that is gone", PATIENCE)
        assert not story.specs.joinpath("blog-api.yaml").exists()
    assert not story.home.sandbox("blog-api").path.exists()
    assert not story.home.deploy_key("blog-api").exists()
    assert story.processes() == []


def test_a_tool_changes_one_line_of_a_file_written_by_hand(world: World) -> None:
    """Comments and order stay."""
    world.light("api")
    written = world.specs.joinpath("api.yaml").read_text()
    world.write("api", f"# My own file\nstate: stopped\n{written}")
    world.start()
    world.wait("api", lambda status: status["reason"] == "Stopped")

    told_by_tool = world.run("start", "api")

    assert "Status: success" in told_by_tool
    assert world.specs.joinpath("api.yaml").read_text() == f"# My own file\nstate: running\n{written}"


def test_the_real_agent_survives_the_controller_and_is_replaced_when_it_dies(story: World) -> None:
    """After kill -9 of the controller the same pid; after kill -9 of the agent a new one, counted, with its reason."""
    story.write("app", f"git: {{url: {story.origin}}}\n")
    story.start()
    before = story.wait("app", lambda status: bool(status["ready"]["status"]), PATIENCE)
    story.kill()
    story.start()
    after = story.wait(
        "app", lambda status: bool(status["ready"]["status"]) and status["observed"] > before["observed"], PATIENCE
    )
    assert after["agent"]["pid"] == before["agent"]["pid"]

    os.kill(before["agent"]["pid"], signal.SIGKILL)

    replaced = story.wait(
        "app", lambda status: bool(status["ready"]["status"]) and status["agent"]["restarts"] == 1, PATIENCE
    )
    assert replaced["agent"]["pid"] != before["agent"]["pid"]
    assert replaced["agent"]["last_exit"] == "signal 9"


async def test_an_agent_that_waits_for_a_person_is_shown(story: World, model: FakeModel) -> None:
    """A permission that is asked for is a reason in status, not a silent Running."""
    config = provider(model.url) | {"permission": {"bash": "ask"}}
    story.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(config)
    story.write("app", f"git: {{url: {story.origin}}}\n")
    story.start()
    ready = story.wait("app", lambda status: bool(status["ready"]["status"]), PATIENCE)
    env = read_env(story.home.sandbox("app").env_file)
    async with connected(ready["bridge"]["url"], env["MCP_TOOL_BEARER_TOKEN"]) as bridge:
        session = (await ask(bridge, "opencode-session-create", title="Careful"))["sessionId"]
        order = f"[[tool:bash {json.dumps({'command': 'touch asked', 'description': 'touch'})}]]"
        said = await ask(bridge, "opencode-session-message", sessionId=session, content=order, waitSeconds=60)
        assert said["state"] == "waiting_permission"

        shown = await asyncio.to_thread(story.wait, "app", lambda status: status["reason"] == "WaitingForPermission")

        assert shown["ready"]["status"]
        assert "touch asked" in shown["message"]
        (asked,) = (await ask(bridge, "opencode-permission-list"))["permissions"]
        await ask(bridge, "opencode-permission-reply", requestId=asked["requestId"], reply="once")
        await asyncio.to_thread(story.wait, "app", lambda status: status["reason"] == "Running")
    assert story.home.sandbox("app").repo.joinpath("asked").exists()


async def test_work_that_a_crash_interrupted_is_named(story: World, model: FakeModel) -> None:
    """Until it goes on."""
    story.write("app", f"git: {{url: {story.origin}}}\n")
    story.start()
    ready = story.wait("app", lambda status: bool(status["ready"]["status"]), PATIENCE)
    env = read_env(story.home.sandbox("app").env_file)
    async with connected(ready["bridge"]["url"], env["MCP_TOOL_BEARER_TOKEN"]) as bridge:
        session = (await ask(bridge, "opencode-session-create", title="Cut"))["sessionId"]
        await ask(bridge, "opencode-session-message", sessionId=session, content="[[hold]]", waitSeconds=2)
        os.kill(ready["agent"]["pid"], signal.SIGKILL)

        def named(status: dict[str, Any]) -> bool:
            return any(f"interrupted the work in {session}" in warning for warning in status["warnings"])

        shown = await asyncio.to_thread(story.wait, "app", named, PATIENCE)

        assert shown["agent"]["restarts"] == 1
        model.release()
        await ask(bridge, "opencode-session-message", sessionId=session, content="go on", waitSeconds=60)
        await asyncio.to_thread(story.wait, "app", lambda status: not named(status))


async def test_a_broken_configuration_and_a_dead_provider_are_shown(story: World) -> None:
    """Each as a reason in status with what to do, while the agent itself is well."""
    story.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider("http://127.0.0.1:9"))
    story.origin.joinpath("opencode.json").write_text('{"model": 5}')
    git(story.origin, "add", ".")
    git(story.origin, "commit", "-q", "-m", "A broken configuration")
    story.write("app", f"git: {{url: {story.origin}}}\n")
    story.start()
    broken = await asyncio.to_thread(story.wait, "app", lambda status: status["reason"] == "ConfigInvalid", PATIENCE)
    assert broken["stalled"]["status"]
    assert "opencode.json, at model (ConfigInvalidError): mend it" in broken["message"]

    story.home.sandbox("app").repo.joinpath("opencode.json").write_text("{}")
    await asyncio.to_thread(story.run, "restart", "app")
    ready = await asyncio.to_thread(story.wait, "app", lambda status: bool(status["ready"]["status"]), PATIENCE)
    env = read_env(story.home.sandbox("app").env_file)
    async with connected(ready["bridge"]["url"], env["MCP_TOOL_BEARER_TOKEN"]) as bridge:
        session = (await ask(bridge, "opencode-session-create", title="Nobody there"))["sessionId"]
        await ask(bridge, "opencode-session-message", sessionId=session, content="Hello", waitSeconds=2)

        def unreachable(status: dict[str, Any]) -> bool:
            return bool(status["reason"] == "ProviderUnreachable")

        shown = await asyncio.to_thread(story.wait, "app", unreachable, PATIENCE)
        assert "attempts" in shown["message"]
        await ask(bridge, "opencode-session-abort", sessionId=session)
