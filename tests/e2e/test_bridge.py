"""The bridge's endpoint and its life: no agent needed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from reconciler.bridge.config import ConfigError, from_environment
from reconciler.bridge.guard import Reach
from tests.engines.local.test_http1 import saying
from tests.support import bridge as support
from tests.support.bridge import TOKEN, Bridge, call
from tests.support.opencode import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = "http://127.0.0.1:9"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
ACCEPT = {"accept": "application/json, text/event-stream"}
KEY = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(name="bridge", scope="module")
def _bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    place = tmp_path_factory.mktemp("bridge")
    with support.running(NOBODY, place, place / "bridge.log") as bridge:
        yield bridge


def post(bridge: Bridge, path: str = "/mcp", headers: dict[str, str] | None = None, **options: Any) -> httpx2.Response:
    options = options or {"json": INITIALIZE}
    return httpx2.post(bridge.url + path, headers=ACCEPT | (headers or {}), timeout=60, trust_env=False, **options)


def test_health_is_open_and_survives_a_dead_agent(bridge: Bridge) -> None:
    """Without a token and without an agent the bridge still says that it lives, and what it sees."""
    answer = httpx2.get(f"{bridge.url}/health", timeout=30)

    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["project"] == "demo"
    assert answer.json()["opencode"]["state"] == "unreachable"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "reachable"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "asks for no password"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "unreachable"),
        (b"SSH-2.0-OpenSSH_9\r\n", "unreachable"),
        (b"", "unreachable"),
    ],
)
async def test_health_recognises_an_agent_by_its_refusal(tmp_path: Path, said: bytes, state: str) -> None:
    """It is asked without the password."""
    async with saying(said) as (port, heard):
        bridge = Bridge(agent_url=f"http://127.0.0.1:{port}", repo=tmp_path, log=tmp_path / "log")
        answer, _ = await Reach(from_environment(bridge.environment())).look()

    assert answer == state
    assert b"authorization" not in heard[0].lower()


@pytest.mark.parametrize("path", ["/mcp", "/", "/ready"])
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}]
)
def test_nobody_gets_in_without_the_token(bridge: Bridge, path: str, headers: dict[str, str]) -> None:
    """Everything but /health wants the bearer token, and the refusal shows none and sends nobody to an OAuth server."""
    answer = post(bridge, path, headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text


def test_the_token_opens_mcp_at_both_addresses_and_ready(bridge: Bridge) -> None:
    """The original tool took any path, so clients are configured with and without /mcp."""
    answers = [post(bridge, path, KEY) for path in ("/mcp", "/", "/mcp/")]
    ready = httpx2.get(f"{bridge.url}/ready", headers=KEY, timeout=30)

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert ready.json() == {"status": "ready", "project": "demo"}


@pytest.mark.parametrize("path", ["/mcp", "/", "/ready", "/health", "/nowhere"])
def test_every_route_refuses_foreign_hosts_and_origins(bridge: Bridge, path: str) -> None:
    """A page that rebinds its name to 127.0.0.1, or that an agent serves on another port, gets nowhere."""
    port = bridge.port
    hosts = [
        post(bridge, path, KEY | {"host": host}) for host in ("evil.example", f"evil.example:{port}", "127.0.0.2:1")
    ]
    origins = ["http://evil.example", "null", f"http://localhost:{port + 1}", f"https://127.0.0.1:{port}"]
    pages = [post(bridge, path, KEY | {"origin": origin}) for origin in origins]

    assert {answer.status_code for answer in hosts} == {421}
    assert {answer.status_code for answer in pages} == {403}


def test_its_own_origin_is_allowed(bridge: Bridge) -> None:
    """A page of our own may call."""
    assert post(bridge, headers=KEY | {"origin": bridge.url}).status_code == 200


def test_other_paths_are_not_found(bridge: Bridge) -> None:
    """There is nothing else, and nothing that looks like OAuth."""
    paths = ("/docs", "/.well-known/oauth-protected-resource", "/session", "/mcp/../health")

    assert {post(bridge, path, KEY).status_code for path in paths} <= {404, 405}


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD"])
def test_there_is_no_stream_to_hold_open(bridge: Bridge, method: str) -> None:
    """Without sessions nothing would ever come on it; clients of 2025 try, and take no for an answer."""
    headers = KEY | {"accept": "text/event-stream"}

    assert httpx2.request(method, f"{bridge.url}/mcp", headers=headers, timeout=30).status_code == 405


async def test_nothing_is_announced_that_never_changes(bridge: Bridge) -> None:
    """A client that wants to listen for changes is told at once that there are none."""
    async with bridge.client() as client:
        with pytest.raises(MCPError, match="Method not found"):
            async with client.listen(tools_list_changed=True):
                pass


def test_a_huge_request_is_refused(bridge: Bridge) -> None:
    """Bodies have a limit."""
    answer = post(bridge, headers=KEY | {"content-type": "application/json"}, content=b" " * (2 * 2**20))

    assert answer.status_code == 413


async def test_both_protocol_eras_list_the_same_tools(bridge: Bridge) -> None:
    """A client of 2025 and one of 2026 see the same tools, each with schemas and honest hints."""
    listed = {}
    for mode in ("legacy", "auto"):
        async with bridge.client(mode) as client:
            listed[mode] = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert listed["legacy"] == listed["auto"]
    assert set(listed["auto"]) == {f"opencode-{name}" for name in EXPECTED}
    for tool in listed["auto"].values():
        assert tool.description
        assert tool.output_schema
        assert tool.annotations
        assert "directory" not in tool.input_schema.get("properties", {})
    destructive = {
        name for name, tool in listed["auto"].items() if tool.annotations and tool.annotations.destructive_hint
    }
    assert destructive == {"opencode-session-delete", "opencode-session-message", "opencode-permission-reply"}


EXPECTED = {
    *("server-health", "config-get", "providers-list", "session-create", "session-list", "session-get"),
    *("session-delete", "session-message", "session-messages", "session-abort", "session-status", "session-diff"),
    *("session-todo", "find-files", "search-content", "file-content", "vcs-diff"),
    *("permission-list", "permission-reply", "question-list", "question-reply"),
}


async def test_a_dead_agent_is_an_answer_that_helps(bridge: Bridge) -> None:
    """Health says why, and any other tool says what to do."""
    async with bridge.client() as client:
        health = await call(client, "server-health")
        refused = await support.refusal(client, "session-list")

    assert health["healthy"] is False
    assert "cannot reach the OpenCode server" in health["detail"]
    assert "try again shortly" in refused


async def test_bad_ids_never_reach_the_agent(bridge: Bridge) -> None:
    """An id becomes part of a path, so it must look like one."""
    async with bridge.client() as client:
        for bad in ("../../global/health", "ses_1/abort", "ses_", "ses_1?directory=/etc", "ses_1\n", "msg_1"):
            assert "opencode-session-list has them" in await support.refusal(client, "session-get", sessionId=bad)


def test_the_mcp_library_is_loaded_only_when_somebody_connects(tmp_path: Path) -> None:
    """An unused bridge stays small: neither /health nor /ready nor a refusal loads it; the first client does."""

    def loaded() -> bool:
        return bool(httpx2.get(f"{bridge.url}/health", timeout=30).json()["mcp_loaded"])

    with support.running(NOBODY, tmp_path, tmp_path / "bridge.log") as bridge:
        post(bridge)
        httpx2.get(f"{bridge.url}/ready", headers=KEY, timeout=30)
        before = loaded()
        post(bridge, headers=KEY)
        after = loaded()

    assert (before, after) == (False, True)


def test_it_ends_on_term_at_once_and_printed_no_secret(tmp_path: Path) -> None:
    """Idle, with a client that keeps its connection open."""
    with (
        support.running(NOBODY, tmp_path, tmp_path / "bridge.log") as bridge,
        httpx2.Client(base_url=bridge.url) as http,
    ):
        http.get("/health")
        http.post("/mcp", headers=KEY | ACCEPT, json=INITIALIZE, timeout=60)
        status = bridge.stop()
        printed = bridge.log.read_text()

    assert status == -signal.SIGTERM
    assert TOKEN not in printed
    assert PASSWORD not in printed


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MCP_TOOL_BEARER_TOKEN", ""),
        ("MCP_TOOL_BEARER_TOKEN", "two words"),
        ("MCP_TOOL_PORT", "0"),
        ("MCP_TOOL_PORT", "http"),
        ("OPENCODE_URL", "http://example.com:4101"),
        ("OPENCODE_URL", "http://127.0.0.1:4101/path"),
        ("OPENCODE_URL", "http://127.0.0.1:99999"),
        ("OPENCODE_SERVER_PASSWORD", ""),
        ("OCM_REPO", "relative"),
        ("OCM_RUN", ""),
        ("OCM_RUN", "relative"),
    ],
)
def test_a_bad_variable_is_named_without_its_value(tmp_path: Path, variable: str, value: str) -> None:
    """The sentence says which variable; the value may be a secret."""
    environment = Bridge(agent_url=NOBODY, repo=tmp_path, log=tmp_path / "log").environment() | {variable: value}

    with pytest.raises(ConfigError, match=rf"^cannot start the bridge: .*{variable}") as caught:
        from_environment(environment)

    assert not value or value not in str(caught.value)


def test_it_refuses_to_start_without_a_token(tmp_path: Path) -> None:
    """The program says so and exits with 2."""
    environment = Bridge(agent_url=NOBODY, repo=tmp_path, log=tmp_path / "log").environment()
    del environment["MCP_TOOL_BEARER_TOKEN"]
    command = [sys.executable, "-P", "-m", "reconciler.bridge"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (
        2,
        "cannot start the bridge: set MCP_TOOL_BEARER_TOKEN in its environment\n",
    )


async def test_many_clients_at_once_load_the_library_once(tmp_path: Path) -> None:
    """Clients that come while it is being loaded all get their answer."""
    with support.running(NOBODY, tmp_path, tmp_path / "bridge.log") as bridge:

        async def tools() -> int:
            async with bridge.client() as client:
                return len((await client.list_tools()).tools)

        counts = await asyncio.gather(*(tools() for _ in range(8)))

    assert counts == [len(EXPECTED)] * 8
