"""One address for all projects: the controller's MCP endpoint in front of real agents."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from reconciler.agents.opencode.toolset import TOOLS
from reconciler.state import published
from tests.support.bridge import call, refusal, said
from tests.support.fakemodel import FakeModel, provider
from tests.support.live import PATIENCE, use
from tests.support.world import World, a_world, read_env

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.xdist_group("router"), pytest.mark.long]  # one controller and its agents for all of them
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture(name="model", scope="module")
def _model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


@pytest.fixture(name="pair", scope="module")
def _pair(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], opencode_program: Path, model: FakeModel
) -> Iterator[World]:
    """A controller with two projects on real agents, and one that is stopped."""
    with a_world(tmp_path_factory.mktemp("pair"), ports) as world:
        world.provide(opencode_program)
        world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(
            provider(model.url) | {"permission": {"external_directory": "allow"}}
        )
        for name in ("blue", "red"):
            world.write(name, f"git: {{url: {world.origin}}}\n")
        world.write("idle", f"git: {{url: {world.origin}}}\nstate: stopped\n")
        world.start()
        for name in ("blue", "red", "idle"):
            world.ready(name)
        yield world


def url(world: World) -> str:
    """The one address."""

    def port() -> int:
        found = published.read(world.home)
        return found.controller.http_port if found.running and found.controller else 0

    return f"http://127.0.0.1:{world.until(port, 'the MCP endpoint')}/mcp"


@contextlib.asynccontextmanager
async def one_address(world: World, mode: str = "auto", token: str | None = None) -> AsyncIterator[Client]:
    """A client of the controller."""
    bearer = token or (world.home.controller / "token").read_text().strip()
    headers = {"authorization": f"Bearer {bearer}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=PATIENCE), trust_env=False) as http,
        Client(streamable_http_client(url(world), http_client=http), mode=mode) as client,
    ):
        yield client


async def begin(client: Client, project: str) -> str:
    """A new session's id."""
    return str((await call(client, "session-create", project=project, title="test"))["sessionId"])


async def say(client: Client, project: str, session_id: str, content: str) -> dict[str, Any]:
    return await call(
        client, "session-message", project=project, sessionId=session_id, content=content, waitSeconds=PATIENCE
    )


async def write(client: Client, project: str, name: str, text: str) -> dict[str, Any]:
    """Have a new session write a file."""
    return await say(client, project, await begin(client, project), use("write", filePath=name, content=text))


@MODES
async def test_the_address_offers_the_managers_tools_and_the_agents(pair: World, mode: str) -> None:
    """In both protocol eras; each of the agents' tools asks for the project first."""
    async with one_address(pair, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    verbs = ("start", "status", "stop", "restart", "destroy", "list", "events", "needs", "answer")
    assert {name for name in tools if name.startswith("opencode_")} == {f"opencode_{verb}" for verb in verbs}
    routed = {tool.name for tool in TOOLS}
    assert routed < set(tools)
    assert all(next(iter(tools[name].input_schema["properties"])) == "project" for name in routed)
    assert all("project" in tools[name].input_schema["required"] for name in routed)


@MODES
async def test_work_in_one_project_changes_its_clone_alone(pair: World, mode: str) -> None:
    """Prompt, file, diff; and nothing in the other's clone or sessions."""
    name = f"of-blue-{mode}.txt"
    async with one_address(pair, mode) as client:
        answer = await write(client, "blue", name, "blue\n")
        blue = await call(client, "vcs-diff", project="blue")
        red = await call(client, "vcs-diff", project="red")
        content = await call(client, "file-content", project="blue", path=name)
        sessions = await call(client, "session-list", project="red")

    assert answer["state"] == "done"
    assert content["content"] == pair.home.sandbox("blue").repo.joinpath(name).read_text() == "blue\n"
    assert not pair.home.sandbox("red").repo.joinpath(name).exists()
    assert {"file": name, "status": "added", "additions": 1, "deletions": 0} in blue["files"]
    assert name not in json.dumps(red)
    assert answer["sessionId"] not in json.dumps(sessions)


async def test_two_projects_work_at_once(pair: World, model: FakeModel) -> None:
    """One finishes while the other's model stalls, by the same client."""
    async with one_address(pair) as client:
        model.stalled.clear()
        session = await begin(client, "blue")
        slow = asyncio.create_task(say(client, "blue", session, "[[hold]]"))
        try:
            assert await asyncio.to_thread(model.stalled.wait, PATIENCE)
            quick = await write(client, "red", "meanwhile.txt", "red\n")
            assert not slow.done()
        finally:
            model.release()
        answers = [quick, await slow]

    assert [answer["state"] for answer in answers] == ["done", "done"]
    assert pair.home.sandbox("red").repo.joinpath("meanwhile.txt").exists()


def test_a_client_that_is_not_python_works_in_both(pair: World, clients: Path) -> None:
    """The TypeScript SDK, in two projects at once through the one address: each agent changes its own clone."""
    targets = {name: str(pair.home.sandbox(name).repo / f"from-typescript-{name}.txt") for name in ("blue", "red")}
    token = (pair.home.controller / "token").read_text().strip()
    environment = os.environ | {"MCP_URL": url(pair), "TOKEN": token, "TARGETS": json.dumps(targets)}
    done = subprocess.run(
        ("node", "story.mjs"),
        cwd=clients,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["tools"] == len(TOOLS) + 9
    for name, other in (("blue", "red"), ("red", "blue")):
        story = report["stories"][name]
        assert story["answer"]["state"] == "done"
        assert f"+from TypeScript to {name}" in story["diff"]["patch"]
        assert f"from TypeScript to {other}" not in story["diff"]["patch"]
    assert any("write" in line for line in report["reports"])


async def test_a_killed_agent_is_reached_again_by_the_same_client(pair: World) -> None:
    """Its session is still there; the other project noticed nothing."""
    async with one_address(pair) as client:
        session = await begin(client, "blue")
        before = {name: pair.ready(name) for name in ("blue", "red")}
        os.kill(before["blue"]["agent"]["pid"], signal.SIGKILL)
        other = await call(client, "server-health", project="red")
        after = await asyncio.to_thread(
            pair.wait,
            "blue",
            lambda status: status["ready"]["status"] and status["agent"]["pid"] != before["blue"]["agent"]["pid"],
        )
        answer = await say(client, "blue", session, "hello")

    assert other["healthy"]
    assert (answer["state"], answer["text"]) == ("done", "You said: hello")
    assert after["agent"]["restarts"] == before["blue"]["agent"]["restarts"] + 1
    assert pair.ready("red")["agent"]["pid"] == before["red"]["agent"]["pid"]


async def test_a_new_password_counts_at_once(pair: World) -> None:
    """The manager restarts the agent with it, and the router sends it."""
    before = pair.ready("red")
    env = pair.home.sandbox("red").env_file
    old = read_env(env)["OPENCODE_SERVER_PASSWORD"]
    async with one_address(pair) as client:
        session = await begin(client, "red")
        env.write_text(env.read_text().replace(old, f"{old}-new"))
        await asyncio.to_thread(
            pair.wait,
            "red",
            lambda status: status["ready"]["status"] and status["agent"]["pid"] != before["agent"]["pid"],
        )
        answer = await say(client, "red", session, "hello again")

    assert answer["text"] == "You said: hello again"


async def test_unknown_and_stopped_projects_are_refused_in_one_sentence(pair: World) -> None:
    """Which says what to do."""
    async with one_address(pair) as client:
        unknown = await refusal(client, "session-create", project="bleu")
        stopped = await refusal(client, "session-create", project="idle")
        missing = await refusal(client, "session-create")

    assert "cannot reach bleu: there is no such project; did you mean blue" in unknown
    assert "cannot reach idle: its spec wants it stopped; opencode_start starts it" in stopped
    assert "project" in missing


async def test_no_secret_comes_out_of_the_address(pair: World) -> None:
    """Not even when an agent's shell prints its own; and a project's token opens that project alone."""
    env = read_env(pair.home.sandbox("blue").env_file)
    secrets = [env["OPENCODE_SERVER_PASSWORD"], env["MCP_TOOL_BEARER_TOKEN"]]
    shell = use(
        "bash", command=f"env > leak; cat {pair.home.sandbox('blue').env_file} | tee -a leak", description="leak"
    )
    async with one_address(pair) as client:
        session = await begin(client, "blue")
        answer = await say(client, "blue", session, shell)
        messages = await client.call_tool("opencode-session-messages", {"project": "blue", "sessionId": session})
        leak = await call(client, "file-content", project="blue", path="leak")
        diff = await call(client, "vcs-diff", project="blue")
        config = await call(client, "config-get", project="blue")
    report = json.dumps([answer, messages.structured_content, leak, diff, config]) + said(messages.content)

    assert answer["state"] == "done"
    hidden = pair.status("blue")["confinement"] == "bubblewrap"  # then only the agent's own environment is there
    assert leak["content"].count("=[redacted]") == (1 if hidden else 3)
    assert not [secret for secret in secrets if secret in report]
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        for token in (secrets[1], "wrong-token-0123456789"):
            response = await http.post(url(pair), headers={"authorization": f"Bearer {token}"}, json={})
            assert response.status_code == 401
            assert not [secret for secret in secrets if secret in response.text]


async def test_the_same_tools_on_stdin_and_stdout(pair: World) -> None:
    """For clients that start their servers: nothing but a command."""
    python, *arguments = pair.command("mcp")
    server = StdioServerParameters(command=python, args=arguments, env=pair.environment)
    with pair.root.joinpath("stdio.err").open("w") as errors:
        async with Client(stdio_client(server, errlog=errors)) as client:
            answer = await write(client, "red", "by-stdio.txt", "red\n")
            content = await call(client, "file-content", project="red", path="by-stdio.txt")

    assert answer["state"] == "done"
    assert content["content"] == "red\n"


async def test_the_address_goes_on_after_the_controller_was_killed(pair: World) -> None:
    """Same agents, same session."""
    async with one_address(pair) as client:
        session = await begin(client, "blue")
    before = pair.ready("blue")
    pair.kill()
    pair.start()
    await asyncio.to_thread(
        pair.wait, "blue", lambda status: status["ready"]["status"] and status["observed"] > before["observed"]
    )

    async with one_address(pair) as client:
        answer = await say(client, "blue", session, "still there?")

    assert answer["text"] == "You said: still there?"
    assert pair.ready("blue")["agent"]["pid"] == before["agent"]["pid"]


def test_the_example_runs_and_its_transcript_is_what_it_prints(
    tmp_path: Path, ports: tuple[range, range], opencode_program: Path
) -> None:
    """But for ids, ports, processes and paths; and it leaves nothing behind."""
    agents, bridges = ports
    environment = {
        **os.environ,
        "PATH": f"{opencode_program.parent}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "OPENCODE_MANAGER_AGENT_PORTS": f"{agents[0]}-{agents[-1]}",
        "OPENCODE_MANAGER_BRIDGE_PORTS": f"{bridges[0]}-{bridges[-1]}",
    }

    done = subprocess.run(
        [sys.executable, EXAMPLES / "first_change.py"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "  +Selling made simple" in done.stdout.splitlines()
    assert _timeless(EXAMPLES.joinpath("transcript.md").read_text()) == _timeless(done.stdout)
    assert list(tmp_path.iterdir()) == []


def _timeless(transcript: str) -> str:
    """Without what differs from run to run: a longer path also wraps the lines of the warning elsewhere."""
    transcript = " ".join(transcript.split())
    varying = {r"Warning: .*? first line": "", r"/\S*/first-change-\w+": "PLACE", r"ses_\w+": "", r"\b\d{2,}\b": ""}
    for pattern, name in varying.items():
        transcript = re.sub(pattern, name, transcript)
    return transcript
