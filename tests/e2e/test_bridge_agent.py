"""The bridge against a real OpenCode: what a person would do through MCP."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reconciler.state import published
from tests.support import bridge as support
from tests.support.bridge import TOKEN, Bridge, call, refusal
from tests.support.fakemodel import KEY
from tests.support.live import PATIENCE, _bridge, _calm, _model, _opencode, say, session, use
from tests.support.opencode import PASSWORD, OpenCode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World

__all__ = ["_bridge", "_calm", "_model", "_opencode"]

pytestmark = [pytest.mark.xdist_group("bridge-agent"), pytest.mark.long]  # one OpenCode for all of them


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_prompt_is_answered_and_streamed(bridge: Bridge, mode: str) -> None:
    """In both protocol eras: rising progress that carries the words, then the whole answer."""
    heard: list[tuple[float, str]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert total
        heard.append((progress, message or ""))

    async with session(bridge, mode) as (client, session_id):
        arguments = {"sessionId": session_id, "content": "[[words:30]]", "waitSeconds": PATIENCE}
        result = await client.call_tool("opencode-session-message", arguments, progress_callback=listen)

    assert result.structured_content
    assert result.structured_content["state"] == "done"
    assert result.structured_content["text"].split() == [f"word{number}" for number in range(30)]
    assert result.structured_content["messageId"].startswith("msg_")
    assert "word29" in support.said(result.content)
    numbers = [number for number, _ in heard]
    assert numbers == sorted(set(numbers))
    assert "opencode-session-abort stops it" in heard[0][1]


async def test_tools_change_the_clone_and_show_in_the_diff(bridge: Bridge, opencode: OpenCode) -> None:
    """The agent writes, edits and runs a command; the changes are seen through MCP alone."""
    made = opencode.repo / "made.txt"
    async with session(bridge) as (client, session_id):
        written = await say(client, session_id, use("write", filePath=str(made), content="one\n"))
        edited = await say(client, session_id, use("edit", filePath=str(made), oldString="one", newString="two"))
        ran = await say(client, session_id, use("bash", command="echo three >> made.txt", description="append"))
        content = await call(client, "file-content", path="made.txt")
        diff = await call(client, "vcs-diff")
        last = await call(client, "session-diff", sessionId=session_id)
        messages = await call(client, "session-messages", sessionId=session_id)
        found = await call(client, "search-content", pattern="^three$")
        files = await call(client, "find-files", query="made.txt")
        every = await call(client, "find-files", query="")

    assert [one["state"] for one in (written, edited, ran)] == ["done", "done", "done"]
    assert content["content"] == made.read_text() == "two\nthree\n"
    assert {"file": "made.txt", "status": "added", "additions": 2, "deletions": 0} in diff["files"]
    assert "+two" in diff["patch"]
    assert [one["file"] for one in last["files"]] == ["made.txt"]
    assert any("bash: completed" in tool for one in messages["messages"] for tool in one.get("tools", []))
    assert [one["path"] for one in found["hits"]] == ["made.txt"]
    assert "made.txt" in files["paths"]
    assert "made.txt" in every["paths"]


async def test_a_permission_is_asked_for_listed_and_given(bridge: Bridge, opencode: OpenCode) -> None:
    """The call comes back at once, and the next one goes on from there."""
    async with session(bridge) as (client, session_id):
        asked = await say(client, session_id, use("bash", command="touch asked-yes", description="make"))
        listed = await call(client, "permission-list")
        status = await call(client, "session-status")
        request = asked["waiting"][0]["requestId"]
        again = await say(client, session_id)
        replied = await call(client, "permission-reply", requestId=request, reply="once")
        done = await say(client, session_id)
        twice = await refusal(client, "permission-reply", requestId=request, reply="once")

    assert asked["state"] == again["state"] == "waiting_permission"
    assert [(one["requestId"], one["command"]) for one in listed["permissions"]] == [(request, "touch asked-yes")]
    assert status["waiting"] == 1
    assert [one["status"] for one in status["active"] if one["sessionId"] == session_id] == ["busy"]
    assert replied["done"]
    assert (done["state"], done["text"]) == ("done", "All done.")
    assert (opencode.repo / "asked-yes").exists()
    assert "list what there is" in twice


async def test_a_permission_is_refused(bridge: Bridge, opencode: OpenCode) -> None:
    """The command does not run."""
    async with session(bridge) as (client, session_id):
        asked = await say(client, session_id, use("bash", command="touch asked-no", description="make"))
        await call(client, "permission-reply", requestId=asked["waiting"][0]["requestId"], reply="reject")
        ended = await say(client, session_id)

    assert ended["state"] in {"done", "error"}
    assert not (opencode.repo / "asked-no").exists()


async def test_a_question_is_asked_listed_and_answered(bridge: Bridge) -> None:
    """The same for questions; a wrong number of answers is refused before it does harm."""
    options = [{"label": "Blue", "description": "like the sea"}, {"label": "Red", "description": "like a rose"}]
    question = {"question": "Which colour?", "header": "Colour", "options": options}
    async with session(bridge) as (client, session_id):
        asked = await say(client, session_id, use("question", questions=[question]))
        listed = await call(client, "question-list")
        request = asked["waiting"][0]["requestId"]
        wrong = await refusal(client, "question-reply", requestId=request, answers=[["Blue"], ["Red"]])
        await call(client, "question-reply", requestId=request, answers=[["Blue"]])
        done = await say(client, session_id)
        late = await refusal(client, "question-reply", requestId=request, answers=[["Blue"]])

    assert asked["state"] == "waiting_question"
    assert listed["requests"][0]["questions"][0] == {
        "question": "Which colour?",
        "options": ["Blue", "Red"],
        "multiple": False,
    }
    assert "each of the 1 questions" in wrong
    assert done["state"] == "done"
    assert "does not wait any more" in late


async def test_two_clients_at_once_hear_their_own(bridge: Bridge) -> None:
    """Each only what its own session says."""

    async def one(text: str) -> str:
        async with session(bridge) as (client, session_id):
            return str((await say(client, session_id, text))["text"])

    left, right = await asyncio.gather(one("left"), one("right"))

    assert (left, right) == ("You said: left", "You said: right")


async def test_waiting_needs_something_to_wait_for(bridge: Bridge) -> None:
    """An empty session and an unknown one are refused with a sentence."""
    async with session(bridge) as (client, session_id):
        empty = await refusal(client, "session-message", sessionId=session_id)
        unknown = await refusal(client, "session-message", sessionId="ses_unknown", content="hello")

    assert "nothing was said in this session yet" in empty
    assert "cannot find it" in unknown


async def test_sessions_are_listed_and_deleted(bridge: Bridge) -> None:
    """And what is deleted is gone."""
    async with session(bridge) as (client, session_id):
        listed = await call(client, "session-list")
        todo = await call(client, "session-todo", sessionId=session_id)
        deleted = await call(client, "session-delete", sessionId=session_id)
        gone = await refusal(client, "session-get", sessionId=session_id)

    assert session_id in [one["sessionId"] for one in listed["sessions"]]
    assert todo == {"todos": [], "note": "the list is empty"}
    assert deleted["done"]
    assert "opencode" not in gone or "cannot find it" in gone


async def test_no_secret_comes_back(bridge: Bridge) -> None:
    """Neither the provider's key from the configuration, nor the password that a shell of the agent prints."""
    async with session(bridge) as (client, session_id):
        config = await client.call_tool("opencode-config-get", {})
        providers = await client.call_tool("opencode-providers-list", {})
        await say(client, session_id, use("bash", command="echo pw=$OPENCODE_SERVER_PASSWORD", description="print"))
        raw = await say(client, session_id, f"my password is {PASSWORD}")
        messages = await client.call_tool("opencode-session-messages", {"sessionId": session_id})

    shown = [one.model_dump_json() for one in (config, providers, messages)] + [json.dumps(raw)]
    assert not any(secret in text for secret in (KEY, PASSWORD, support.TOKEN) for text in shown)
    assert "fake/m1" in shown[1]


async def test_ten_megabytes_are_handed_on_in_size(bridge: Bridge, opencode: OpenCode) -> None:
    """A large file, and a large change, neither break a call nor flood the caller."""
    large = opencode.repo / "large.txt"
    large.write_text("0123456789abcde\n" * 2**16 * 10)
    async with bridge.client() as client:
        content = await call(client, "file-content", path="large.txt", maxLines=5000)
        diff = await call(client, "vcs-diff")
        hits = await call(client, "search-content", pattern="0123")
    large.unlink()

    assert content["size"] == 10 * 2**20
    assert "go on with firstLine" in content["note"]
    assert len(content["content"]) < 110_000
    assert "large.txt" in [one["file"] for one in diff["files"]]
    assert len(diff["patch"]) < 70_000
    assert diff["note"]
    assert len(hits["hits"]) == 100


async def test_no_argument_leads_outside_the_clone(bridge: Bridge, opencode: OpenCode) -> None:
    """No path, no query, and no directory smuggled in as an argument that no tool has."""
    (opencode.sandbox / "outside.txt").write_text("outside the clone\n")
    (opencode.repo / "link.txt").symlink_to("../outside.txt")
    async with session(bridge) as (client, session_id):
        for path in ("../outside.txt", "/etc/passwd", "link.txt", ".git/config", "a\0b"):
            assert "cannot" in await refusal(client, "file-content", path=path)
        found = await call(client, "find-files", query="outside.txt", directory="/etc")
        hits = await call(client, "search-content", pattern="outside the clone", directory="..")
        made = await call(client, "session-create", directory="/etc")
    (opencode.repo / "link.txt").unlink()
    _, raw = opencode.call("GET", f"/session/{made['sessionId']}")

    assert session_id
    assert "outside.txt" not in found["paths"]
    assert not any(path.startswith(("/", "..")) for path in found["paths"])
    assert hits["hits"] == []
    assert raw["directory"] == str(opencode.repo)


async def test_health_shows_the_agent(bridge: Bridge) -> None:
    """As the open page has it, and as the tool has it."""
    async with bridge.client() as client:
        health = await call(client, "server-health")
    opened = httpx2.get(f"{bridge.url}/health", timeout=30).json()

    assert (health["healthy"], health["project"]) == (True, "demo")
    assert health["version"]
    assert opened["opencode"]["state"] == "reachable"


def test_a_client_that_is_not_python_does_the_same(bridge: Bridge, opencode: OpenCode, clients: Path) -> None:
    """The TypeScript SDK, which checks every answer against its schema."""
    environment = os.environ | {
        "MCP_URL": f"{bridge.url}/mcp",
        "TOKEN": support.TOKEN,
        "TARGETS": json.dumps({"": str(opencode.repo / "from-typescript.txt")}),
    }
    command = ("node", "story.mjs")
    done = subprocess.run(
        command, cwd=clients, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert story["tools"] == 21
    assert story["stories"][""]["answer"]["state"] == "done"
    assert "+from TypeScript" in story["stories"][""]["diff"]["patch"]
    assert any("write" in report for report in story["reports"])


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_mcp_inspector_finds_no_fault_and_works(bridge: Bridge, clients: Path, era: str) -> None:
    """In both protocol eras: no schema that a client may stumble over, then a session and an answer."""
    url = f"{bridge.url}/mcp"
    inspect = functools.partial(inspected, clients, url, support.TOKEN, era)
    tools = inspect("tools/list", "--strict")["tools"]
    made = inspect("tools/call", "--tool-name", "opencode-session-create", "--tool-arg", "title=inspected")
    session_id = made["structuredContent"]["sessionId"]
    arguments = json.dumps({"sessionId": session_id, "content": "hello", "waitSeconds": PATIENCE})
    said = inspect("tools/call", "--tool-name", "opencode-session-message", "--tool-args-json", arguments)

    assert len(tools) == 21
    assert said["structuredContent"]["state"] == "done"
    assert said["structuredContent"]["text"] == "You said: hello"


def test_the_mcp_inspector_is_refused_without_the_token(bridge: Bridge, clients: Path) -> None:
    """It says that it is for want of authorization, and shows no tool."""
    with pytest.raises(AssertionError, match="auth_required"):
        inspected(clients, f"{bridge.url}/mcp", "wrong", "modern", "tools/list")


def test_the_mcp_inspector_finds_no_fault_at_the_one_address(world: World, clients: Path) -> None:
    """In both protocol eras: the manager's tools and the agents', before there is any project."""
    world.start()

    def port() -> int:
        found = published.read(world.home)
        return found.controller.http_port if found.running and found.controller else 0

    url = f"http://127.0.0.1:{world.until(port, 'the MCP endpoint')}/mcp"
    token = (world.home.controller / "token").read_text().strip()
    listed = [inspected(clients, url, token, era, "tools/list", "--strict")["tools"] for era in ("legacy", "modern")]

    assert len(listed[0]) == len(listed[1]) == 30
    assert {"opencode_start", "opencode-session-message"} < {tool["name"] for tool in listed[0]}


def inspected(clients: Path, url: str, token: str, era: str, method: str, *options: str) -> dict[str, Any]:
    """The result that the inspector shows; any complaint, a warning about a schema too, fails the test."""
    program = clients / "node_modules/@modelcontextprotocol/inspector/clients/cli/build/index.js"
    server = ("--server-url", url, "--transport", "http", "--header", f"Authorization: Bearer {token}")
    how = ("--stored-auth-only", "--protocol-era", era, "--format", "json", "--method", method)
    environment = {"PATH": os.environ["PATH"], "HOME": str(clients)}
    done = subprocess.run(
        ("node", str(program), *server, *how, *options),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads(done.stdout)
    assert "schemaFindings" not in shown, done.stderr
    return dict(shown["result"])


def test_opencode_connects_to_the_bridge(bridge: Bridge, opencode_program: Path, tmp_path: Path) -> None:
    """One agent can be handed to another: OpenCode's own list says "connected"."""
    server = {
        "type": "remote",
        "url": f"{bridge.url}/mcp",
        "oauth": False,
        "headers": {"Authorization": "Bearer {env:BRIDGE_TOKEN}"},
    }
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BRIDGE_TOKEN": TOKEN,
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "npm_config_offline": "true",
        "OPENCODE_CONFIG_CONTENT": json.dumps({"autoupdate": False, "mcp": {"bridge": server}}),
    }

    listed = subprocess.run(
        [opencode_program, "mcp", "list"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    # Not "disconnected", and colours may stand between the two words.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", listed.stdout)
    assert re.search(r"\bbridge\W+connected\b", plain), listed.stdout + listed.stderr
