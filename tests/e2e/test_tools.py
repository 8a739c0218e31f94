"""The six tools, called by a real MCP client in both protocol eras; a fake controller publishes the statuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import watchfiles
from mcp import Client, MCPError
from mcp_types import ElicitResult, TextContent

from reconciler.api import client as asking
from reconciler.core.reasons import Reason
from reconciler.core.status import Condition
from reconciler.frontends.mcp.tools import make_server
from reconciler.specs import spec_folder
from reconciler.system.files import LockFile
from tests.support.fakecontroller import KEY, URL, FakeController, a_fake_controller, make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from mcp.client import ClientRequestContext
    from mcp_types import CallToolResult, ElicitRequestParams

    from reconciler.settings import Settings

PATIENCE = 60.0
CANARY = "canary-0123456789-of-the-bridge"
SIX = {f"opencode_{verb}" for verb in ("start", "status", "stop", "restart", "destroy", "list")}

pytestmark = pytest.mark.filterwarnings("error::mcp.MCPDeprecationWarning")


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


@pytest.fixture(name="controller")
def _controller(settings: Settings) -> Iterator[FakeController]:
    with a_fake_controller(settings) as controller:
        yield controller


@pytest.fixture(name="stopping")
def _stopping() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture(name="mode", params=["auto", "legacy"])
def _mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.asynccontextmanager
async def connected(settings: Settings, stopping: asyncio.Event, mode: str, **options: Any) -> AsyncIterator[Client]:
    async with Client(make_server(settings, stopping), mode=mode, **options) as client:
        yield client


def said(result: CallToolResult) -> str:
    return "\n".join(one.text for one in result.content if isinstance(one, TextContent))


def version(settings: Settings, name: str = "blog-api") -> str:
    return spec_folder.token_of(spec_folder.spec_path(settings.specs, name).stat()).text


async def until_written(settings: Settings, before: str = "") -> str:
    """The version of the spec once a tool has written it."""
    path = spec_folder.spec_path(settings.specs, "blog-api")
    hints = watchfiles.awatch(settings.specs.parent, debounce=50, step=5, rust_timeout=100, yield_on_timeout=True)
    async with asyncio.timeout(PATIENCE), contextlib.aclosing(hints):
        async for _ in hints:
            if path.exists() and version(settings) != before:
                break
    return version(settings)


async def test_the_tools_say_what_they_do(settings: Settings, stopping: asyncio.Event, mode: str) -> None:
    """Typed answers, and hints that hold: only looking is read-only, only destroy destroys, only start reaches out."""
    async with connected(settings, stopping, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools if tool.name in SIX}

    hints = {name: tool.annotations for name, tool in tools.items()}
    assert tools.keys() == SIX
    assert all(tool.output_schema and tool.description for tool in tools.values())
    assert {name for name, hint in hints.items() if hint and hint.read_only_hint} == {
        "opencode_status",
        "opencode_list",
    }
    assert {name for name, hint in hints.items() if hint and hint.destructive_hint} == {"opencode_destroy"}
    assert {name for name, hint in hints.items() if hint and hint.open_world_hint} == {"opencode_start"}
    assert {name for name, hint in hints.items() if hint and not hint.idempotent_hint} == {"opencode_restart"}


async def test_start_waits_for_the_key_and_then_for_success(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """The user's own example: the public key first, then ports, pids and where the token is."""
    arguments = {"project_name": "blog-api", "git_url": URL, "wait_seconds": 60}
    async with connected(settings, stopping, mode) as client:
        call = asyncio.create_task(client.call_tool("opencode_start", arguments))
        first = await until_written(settings)
        controller.waiting_for_key("blog-api", first)
        waiting = await call
        call = asyncio.create_task(client.call_tool("opencode_start", arguments))
        controller.ready("blog-api", await until_written(settings, first))
        started = await call

    assert waiting.structured_content
    assert waiting.structured_content["status"] == "waiting_for_key"
    assert not waiting.is_error
    assert KEY in said(waiting)
    assert started.structured_content
    assert started.structured_content["status"] == "success"
    assert started.structured_content["opencode_port"] == 4101
    assert started.structured_content["generation"] == started.structured_content["observed_generation"]
    for text in ("Status: success", "http://127.0.0.1:4101 (PID: 12345)", "http://127.0.0.1:5101/mcp", "(stored in "):
        assert text in said(started)


async def test_an_error_is_one_and_carries_the_whole_status(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """The model reads the sentence, a program the fields."""
    async with connected(settings, stopping, mode) as client:
        call = asyncio.create_task(client.call_tool("opencode_start", {"project_name": "blog-api", "git_url": URL}))
        controller.stalled("blog-api", await until_written(settings), "PortTaken", "cannot start: port 4101 is taken")
        result = await call

    assert result.is_error
    assert result.structured_content
    assert result.structured_content["reason"] == "PortTaken"
    assert "port 4101 is taken" in said(result)


@pytest.mark.parametrize("key", [f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}", f"ssh-ed25519 {CANARY}"])
async def test_the_text_of_a_key_is_not_echoed(
    settings: Settings, stopping: asyncio.Event, mode: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither to the chat nor to the log; nothing is written."""
    arguments = {"project_name": "blog-api", "git_url": URL, "user_ssh_key": key}
    async with connected(settings, stopping, mode) as client:
        result = await client.call_tool("opencode_start", arguments)

    assert result.is_error
    assert "path" in said(result)
    assert CANARY not in said(result) + caplog.text
    assert not spec_folder.spec_path(settings.specs, "blog-api").exists()


@pytest.mark.parametrize("tool", sorted(SIX - {"opencode_start", "opencode_list"}))
async def test_an_unknown_project_is_said_to_be_so(
    settings: Settings, stopping: asyncio.Event, mode: str, tool: str
) -> None:
    """With the nearest name, and as something the model can act on."""
    asking.start(settings, "blog-api", URL)
    arguments = {"project_name": "blog-app"} | ({"confirm": "blog-app"} if tool == "opencode_destroy" else {})
    async with connected(settings, stopping, mode) as client:
        result = await client.call_tool(tool, arguments)

    assert result.is_error
    assert "did you mean blog-api?" in said(result)


async def test_a_silent_step_has_a_heartbeat(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """Progress rises and tells the step, long before a client gives up; not in time is no error."""
    reports: list[tuple[float, float | None, str | None]] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    change = asking.start(settings, "blog-api", URL)
    controller.working("blog-api", change.version)
    arguments = {"project_name": "blog-api", "git_url": URL, "wait_seconds": 5}
    async with connected(settings, stopping, mode) as client:
        call = asyncio.create_task(client.call_tool("opencode_start", arguments, progress_callback=progress))
        controller.working("blog-api", await until_written(settings, change.version))
        result = await call

    values = [value for value, _, _ in reports]
    assert len(values) >= 2
    assert values == sorted(set(values))
    assert {(total, message) for _, total, message in reports} == {(5, "Cloning: cloning 10%")}
    assert result.structured_content
    assert result.structured_content["status"] == "in_progress"
    assert not result.is_error


async def test_a_client_that_goes_away_leaves_the_change_and_ends_nothing(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """The spec is written whole; the event that would end the controller stays unset."""
    controller.gone("blog-api")
    async with connected(settings, stopping, mode) as client:
        call = asyncio.create_task(client.call_tool("opencode_start", {"project_name": "blog-api", "git_url": URL}))
        await until_written(settings)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    assert spec_folder.spec_path(settings.specs, "blog-api").read_text() == f"git:\n  url: {URL}\n"
    assert not stopping.is_set()


async def test_destroy_needs_the_name_where_nobody_can_be_asked(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """A client without elicitation has to confirm in the call."""
    change = asking.start(settings, "blog-api", URL)
    controller.ready("blog-api", change.version)
    async with connected(settings, stopping, mode) as client:
        refused = await client.call_tool("opencode_destroy", {"project_name": "blog-api"})
        unchanged = version(settings)
        call = asyncio.create_task(
            client.call_tool("opencode_destroy", {"project_name": "blog-api", "confirm": "blog-api"})
        )
        await until_written(settings, change.version)
        spec_folder.spec_path(settings.specs, "blog-api").unlink()
        controller.gone("blog-api")
        done = await call

    assert refused.is_error
    assert unchanged == change.version
    assert done.structured_content
    assert done.structured_content["status"] == "success"


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_destroy_asks_the_person_where_the_client_can(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str, action: Any
) -> None:
    """Only a yes writes the tombstone."""
    asked: list[str] = []

    async def answer(_context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content={"project_name": "blog-api"} if action == "accept" else None)

    controller.ready("blog-api", asking.start(settings, "blog-api", URL).version)
    async with connected(settings, stopping, mode, elicitation_callback=answer) as client:
        result = await client.call_tool("opencode_destroy", {"project_name": "blog-api", "wait_seconds": 0})

    assert len(asked) == 1
    assert "blog-api" in asked[0]
    text = spec_folder.spec_path(settings.specs, "blog-api").read_text()
    assert ("state: absent" in text) == (action == "accept")
    assert result.is_error == (action != "accept")


async def test_a_secret_of_the_sandbox_is_nowhere_in_any_answer(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """Only where it is stored is told."""
    env = settings.home.sandbox("blog-api").env_file
    env.parent.mkdir(parents=True)
    env.write_text(f"MCP_TOOL_BEARER_TOKEN={CANARY}\nOPENCODE_SERVER_PASSWORD={CANARY}\n")
    controller.ready("blog-api", asking.start(settings, "blog-api", URL).version)
    async with connected(settings, stopping, mode) as client:
        answers = [
            (await client.call_tool("opencode_status", {"project_name": "blog-api"})).model_dump_json(),
            (await client.call_tool("opencode_list", {})).model_dump_json(),
            (await client.read_resource("opencode://projects")).model_dump_json(),
            (await client.read_resource("opencode://projects/blog-api/status")).model_dump_json(),
        ]

    assert all("blog-api" in answer for answer in answers)
    assert CANARY not in "".join(answers)


async def test_status_and_list_show_wanted_and_actual(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """Processes, ports, sandbox, repository and the last health check."""
    controller.ready("blog-api", "")
    async with connected(settings, stopping, mode) as client:
        status = await client.call_tool("opencode_status", {"project_name": "blog-api"})
        listing = await client.call_tool("opencode_list", {})

    assert status.structured_content
    wanted = {"desired": "running", "actual": "running", "opencode_pid": 12345, "mcp_tool_port": 5101, "git_url": URL}
    assert wanted.items() <= status.structured_content.items()
    assert status.structured_content["last_health_check"] == "2026-01-28T10:30:00Z"
    assert "PID 12345" in said(status)
    assert listing.structured_content
    assert [line["project"] for line in listing.structured_content["projects"]] == ["blog-api"]
    assert "blog-api: desired running, actual running" in said(listing)


async def test_resources_hold_the_same(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """For clients that show resources; an unknown one is an error of the protocol."""
    controller.ready("blog-api", "")
    async with connected(settings, stopping, mode) as client:
        (content,) = (await client.read_resource("opencode://projects/blog-api/status")).contents
        with pytest.raises(MCPError, match="no such project"):
            await client.read_resource("opencode://projects/nobody/status")

    assert json.loads(content.model_dump()["text"])["status"] == "success"


async def test_a_misspelt_argument_is_refused(settings: Settings, stopping: asyncio.Event, mode: str) -> None:
    """It must not silently mean its default."""
    async with connected(settings, stopping, mode) as client:
        arguments = {"project_name": "blog-api", "git_url": URL, "wait_second": 300}
        result = await client.call_tool("opencode_start", arguments)

    assert result.is_error
    assert said(result) == "cannot call opencode_start: it takes no wait_second; did you mean wait_seconds?"
    assert not spec_folder.spec_path(settings.specs, "blog-api").exists()


async def test_an_argument_of_a_wrong_kind_is_not_echoed(
    settings: Settings, stopping: asyncio.Event, mode: str
) -> None:
    """Somebody may have pasted a key, in a list."""
    arguments = {"project_name": "blog-api", "git_url": URL, "user_ssh_key": [f"-----BEGIN PRIVATE KEY----- {CANARY}"]}
    async with connected(settings, stopping, mode) as client:
        result = await client.call_tool("opencode_start", arguments)

    assert result.is_error
    assert said(result) == "cannot call opencode_start: user_ssh_key must be text"


async def test_a_lock_that_somebody_else_holds_stops_only_the_call(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """The controller shares this event loop: it must go on."""
    controller.ready("blog-api", asking.start(settings, "blog-api", URL).version)
    lock = LockFile(settings.home.controller / "specs.lock")
    async with connected(settings, stopping, mode) as client:
        call = asyncio.create_task(client.call_tool("opencode_stop", {"project_name": "blog-api"}))
        looked = await client.call_tool("opencode_list", {})
        pending = not call.done()
        lock.close()
        call.cancel()
        await asyncio.wait({call})

    assert pending
    assert not looked.is_error


async def test_what_a_running_agent_asks_reaches_the_model(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """It is ready and waits for a person: the question, and how to answer it, are in every text."""
    asked = "the agent asks leave for: rm -rf build; to answer: opencode_needs"
    ready = Condition(status=True, reason=Reason.RUNNING, since=1.0)
    async with connected(settings, stopping, mode) as client:
        call = asyncio.create_task(client.call_tool("opencode_start", {"project_name": "blog-api", "git_url": URL}))
        written = await until_written(settings)
        controller.stalled("blog-api", written, "WaitingForPermission", asked, ready=ready, actual="running")
        answers = [
            await call,
            await client.call_tool("opencode_status", {"project_name": "blog-api"}),
            await client.call_tool("opencode_list", {}),
        ]

    assert [asked in " ".join(said(answer).split()) for answer in answers] == [True, True, True]


async def test_a_project_nobody_has_looked_at_yet_is_in_progress(
    settings: Settings, controller: FakeController, stopping: asyncio.Event, mode: str
) -> None:
    """Its spec is there: that is no error. News of a controller that has ended is told to be old."""
    asking.start(settings, "blog-api", URL)
    async with connected(settings, stopping, mode) as client:
        unseen = await client.call_tool("opencode_status", {"project_name": "blog-api"})
        controller.ready("blog-api", "")
        controller.close()
        old = await client.call_tool("opencode_status", {"project_name": "blog-api"})

    assert not unseen.is_error
    assert unseen.structured_content
    assert (unseen.structured_content["status"], unseen.structured_content["reason"]) == ("in_progress", "NotSeenYet")
    assert "has not looked at it yet" in said(unseen)
    assert "no controller is running" in said(old)


async def test_an_index_of_a_newer_version_is_reported(settings: Settings, stopping: asyncio.Event, mode: str) -> None:
    """Through the list and the resource, as through every other frontend."""
    settings.home.root.mkdir(parents=True)
    settings.home.state_file.write_text('{"schema": 99}')
    async with connected(settings, stopping, mode) as client:
        listing = await client.call_tool("opencode_list", {})
        with pytest.raises(MCPError, match="newer version; upgrade"):
            await client.read_resource("opencode://projects")

    assert "cannot read " in said(listing)
