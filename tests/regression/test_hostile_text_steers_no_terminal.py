"""What an agent calls things reaches people and models as plain text, wherever it comes out."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.server import MCPServer

from reconciler.agents.opencode import attention
from reconciler.agents.opencode.agent import OpenCodeAgent
from reconciler.agents.opencode.driver import DRIVER
from reconciler.agents.opencode.toolset import TOOLS
from reconciler.bridge.config import from_environment
from reconciler.core.activity import AgentActivity
from reconciler.core.needs import Need, NeedKind
from reconciler.core.observed import ObservedLimit
from reconciler.core.reasons import Reason
from reconciler.core.status import Condition, ProjectStatus, ServiceStatus
from reconciler.engines.local.git.git import plain as git_words
from reconciler.engines.local.health.http1 import Answer
from reconciler.frontends.cli.main import main
from reconciler.frontends.mcp.tools import make_server
from reconciler.mcpkit.binding import bound
from reconciler.state import published
from tests.support.bridge import Bridge, connect, said
from tests.support.fakecontroller import a_fake_controller, make_settings
from tests.support.hostileagent import CALLS, HOSTILE, a_hostile_agent
from tests.support.opencode import make_repository
from tests.support.terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.world import World

COMMANDS = (
    *("status", "status app", "status app -o yaml", "list", "list -o wide", "list -o jsonl", "list -o name"),
    *("describe app", "describe app -o yaml", "wait app --timeout 0.1", "top app", "doctor"),
)
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200b\U000e0000-\U000e007f]")


def strings(value: Any) -> Iterator[str]:
    """Every text in some data, keys included."""
    if isinstance(value, str):
        yield value
    for item in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(item)


def harmless(*texts: str, longest: int) -> bool:
    """Whether all of it may be shown."""
    assert [text[:80] for text in texts if HARMFUL.search(text)] == []
    assert [text[:80] for text in texts if len(text) > longest] == []
    return bool(texts)


@pytest.fixture(name="agent")
def _agent(tmp_path: Path) -> Iterator[OpenCodeAgent]:
    """A hostile one, whose clone has hostile names and lines in it."""
    repo = make_repository(tmp_path / "repo")
    (repo / "odd\x1b[31m\u202ename").write_text(f"needle {HOSTILE[:60]}\n")
    with a_hostile_agent() as url:
        config = from_environment(Bridge(agent_url=url, repo=repo, log=tmp_path / "log").environment())
        yield OpenCodeAgent(project="a", opencode=connect(config), repo=repo, stopping=asyncio.Event(), secrets=())


@pytest.mark.parametrize("tool", CALLS)
async def test_no_tool_of_an_agent_hands_on_what_steers_a_terminal(agent: OpenCodeAgent, tool: str) -> None:
    """Neither in the text nor in the object, nor in what is reported meanwhile."""

    async def only(_: str) -> OpenCodeAgent:
        return agent

    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(f"{message} {progress} {total}")

    async with Client(MCPServer("one", tools=bound(TOOLS, only))) as client:
        result = await client.call_tool(f"opencode-{tool}", CALLS[tool], progress_callback=hear)
        await agent.opencode.close()

    assert harmless(said(result.content), *strings(result.structured_content), *heard, longest=130_000)


@pytest.mark.parametrize("part", ["message", "warnings", "planned", "public_key"])
async def test_no_status_steers_a_terminal(
    tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the file, nor the table, nor the page of a project, nor what a model is told."""
    settings = make_settings(tmp_path)
    for name, setting in settings.environment.items():
        monkeypatch.setenv(name, setting)
    value: Any = (HOSTILE,) if part in {"warnings", "planned"} else HOSTILE
    with a_fake_controller(settings) as controller:
        controller.ready("app", "1", **{part: value})
        for command in COMMANDS:
            main(command.split())
        async with Client(make_server(settings, asyncio.Event())) as client:
            results = [
                await client.call_tool("opencode_status", {"project_name": "app"}),
                await client.call_tool("opencode_list"),
            ]

    texts = [said(result.content) for result in results] + [*strings([result.structured_content for result in results])]
    printed = capsys.readouterr()
    assert harmless(*printed.out.splitlines(), *printed.err.splitlines(), *texts, longest=20_000)
    assert harmless(*strings(json.loads(settings.home.state_file.read_text())), longest=5_000)


def test_no_field_of_a_status_is_left_out() -> None:
    """Whatever text is added to it one day."""
    condition = Condition(status=True, reason=Reason.IDLE, message=HOSTILE)
    service = ServiceStatus(state=HOSTILE, url=HOSTILE, last_exit=HOSTILE)
    parts: dict[str, Any] = {"Condition": condition, "ServiceStatus": service, "bool": True, "int": 1, "float": 1.0}
    parts["AgentActivity"] = AgentActivity(why=HOSTILE)
    parts["tuple[ObservedLimit, ...]"] = (ObservedLimit(name=HOSTILE, value=1, enforced_by=HOSTILE, hard=True),)
    texts: dict[str, Any] = dict.fromkeys(
        ("id", "project", "message", "request", "session", "tool", "public_key", "do"), HOSTILE
    )
    parts["tuple[Need, ...]"] = (Need(**texts, kind=NeedKind.KEY, since=1.0),)
    values = {field.name: parts.get(str(field.type), HOSTILE) for field in fields(ProjectStatus)}

    assert harmless(*strings(ProjectStatus(**values).to_dict()), longest=5_000)


def test_what_an_agent_asks_and_breaks_is_reported_in_one_short_line() -> None:
    """Permissions, questions, providers, broken configurations, and what git prints."""
    retry = {"ses": {"type": "retry", "attempt": 9, "message": HOSTILE}}
    asked = attention.of(
        [{"permission": HOSTILE, "patterns": [HOSTILE]}], [{"questions": [{"question": HOSTILE}]}], retry
    )
    error = {"name": "ProviderAuthError", "data": {"providerID": HOSTILE}}
    refused = attention.refusal([{"info": {"time": {"created": 2000}, "error": error}}], 1.0)
    data = {"path": HOSTILE, "issues": [{"path": [HOSTILE, HOSTILE]}]}
    broken = DRIVER.broken_config(Answer(400, json.dumps({"name": f"Config{HOSTILE}", "data": data}).encode()))
    texts = [one.message for one in (*asked, *refused)]

    assert len(texts) == 4
    assert harmless(*texts, broken, git_words(HOSTILE), longest=800)


def test_the_controller_s_own_warnings_steer_nothing(tmp_path: Path) -> None:
    """They name files that others put there."""
    settings = make_settings(tmp_path)
    settings.home.root.mkdir()
    identity = published.ControllerInfo(pid=1, specs="x", http_port=0, started=0.0, warnings=(HOSTILE,))
    published.Writer(settings.home).write(identity, {})

    assert harmless(*strings(json.loads(settings.home.state_file.read_text())), longest=5_000)


def test_no_log_steers_a_terminal(world: World) -> None:
    """One, or several; a program gets the bytes as they are."""
    line = f"{HOSTILE}\x1b[2J\x1b[31mred\n"
    for name in ("app", "web"):
        world.home.sandbox(name).run.mkdir(parents=True)
        world.home.logs.mkdir(exist_ok=True)
        world.home.log_file(name, "agent").write_text(line)
        world.write(name, "git: {url: /x}\n")

    _, one = on_terminal(world.command("logs", "app"), world.environment)
    _, both = on_terminal(world.command("logs", "app", "web", "--timestamps"), world.environment)

    assert harmless(*one.splitlines(), *both.splitlines(), longest=200_000)
    assert "red" in one
    assert "\x1b[31mred" in world.run("logs", "app")
