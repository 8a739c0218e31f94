"""The MCP tools over HTTP: real clients of both eras on a real controller, and everything that is kept out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import jsonschema
import mcp_types
import pytest
from mcp.shared.exceptions import MCPError

from reconciler.specs import spec_folder
from tests.support.frontends import (
    ERAS,
    _served,
    assert_nowhere,
    connect,
    fields,
    said,
    start_arguments,
    token,
)
from tests.support.world import PATIENCE, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp import Client

__all__ = ["_served"]

CANARY = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQcanary"
KEY_TEXT = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----\n"
HOSTILE_NAMES = ["-upload-pack", "../outside", "a/b", "name\nstate: absent", "", ".", "UPPER", "a" * 64, "x" * 1_000]
HOSTILE_URLS = [
    "--upload-pack=touch /tmp/owned",
    "ext::sh -c 'touch /tmp/owned'",
    "git@github.com:me/repo.git\nstate: absent",
    "ssh://-oProxyCommand=touch/owned",
    "https://me:secret-canary@example.org/repo.git",
    "git@github.com:" + "a" * 500_000,
    "",
]
ANNOTATIONS = {
    "opencode_start": (False, False, True, True),
    "opencode_status": (True, False, True, False),
    "opencode_stop": (False, False, True, False),
    "opencode_restart": (False, False, False, False),
    "opencode_destroy": (False, True, True, False),
    "opencode_list": (True, False, True, False),
    "opencode_events": (True, False, True, False),
}
"""Read only, destructive, idempotent, open world."""


# -- the story --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ERAS)
async def test_the_six_tools_tell_the_whole_story(served: tuple[World, int], mode: str) -> None:
    """Start, status, list, restart, stop, destroy; each answer is as its schema says."""
    world, port = served
    name = f"story-{mode}"
    world.light(name, state="stopped")
    named = {"project_name": name}
    async with connect(world, port, mode) as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}

        async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            answer = await client.call_tool(f"opencode_{tool}", arguments)
            assert not answer.is_error, said(answer)
            jsonschema.validate(answer.structured_content, schemas[f"opencode_{tool}"] or False)
            return fields(answer)

        started = await call("start", start_arguments(world, name))
        assert (started["status"], started["converged"], started["actual"]) == ("success", True, "running")
        assert started["generation"] == started["observed_generation"]
        assert started["opencode_url"] == f"http://127.0.0.1:{started['opencode_port']}"
        status = await call("status", named)
        assert status["opencode_pid"] == started["opencode_pid"]
        lines = {line["project"]: line for line in (await call("list", {}))["projects"]}
        assert lines[name]["mcp_tool_pid"] == started["mcp_tool_pid"]
        restarted = await call("restart", named | {"wait_seconds": PATIENCE})
        assert restarted["status"] == "success"
        assert restarted["opencode_pid"] != started["opencode_pid"]
        assert restarted["mcp_tool_pid"] != started["mcp_tool_pid"]
        stopped = await call("stop", named | {"wait_seconds": PATIENCE})
        assert (stopped["status"], stopped["actual"]) == ("success", "stopped")
        assert "opencode_pid" not in stopped
        await call("destroy", named | {"confirm": name, "wait_seconds": PATIENCE})
        assert name not in {line["project"] for line in (await call("list", {}))["projects"]}
    assert not world.home.sandbox(name).path.exists()


@pytest.mark.parametrize("mode", ERAS)
async def test_the_tools_say_what_they_do(served: tuple[World, int], mode: str) -> None:
    """Annotations, schemas for what comes out, and a description a tool."""
    async with connect(*served, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    for name, expected in ANNOTATIONS.items():
        hints = tools[name].annotations
        assert hints is not None
        found = (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        assert found == expected, name
        assert tools[name].description
        jsonschema.Draft202012Validator.check_schema(tools[name].output_schema or False)
    assert tools["opencode_start"].input_schema["required"] == ["project_name", "git_url"]
    assert "sure" not in tools["opencode_destroy"].input_schema["properties"]


async def test_the_resources_say_the_same_as_the_tools(served: tuple[World, int]) -> None:
    """The list, one project, and an error for one that is not there."""
    world, port = served
    world.light("resource", state="stopped")
    world.ready("resource")
    async with connect(world, port) as client:
        listing = await client.read_resource("opencode://projects")
        one = await client.read_resource("opencode://projects/resource/status")
        with pytest.raises(MCPError, match="no such project"):
            await client.read_resource("opencode://projects/nowhere/status")

    assert '"resource"' in str(listing.contents[0])
    assert "Stopped" in str(one.contents[0])


# -- refusals ---------------------------------------------------------------------------------------------------------


async def refusal(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error, said(answer)
    return said(answer)


@pytest.mark.parametrize("mode", ERAS)
async def test_an_unknown_project_is_answered_with_the_nearest(served: tuple[World, int], mode: str) -> None:
    """By every tool that takes a name of something that must be there."""
    world, port = served
    world.light("nearly", state="stopped")
    world.ready("nearly")
    async with connect(world, port, mode) as client:
        for tool in ("status", "stop", "restart", "destroy"):
            arguments = {"project_name": "nearby"} | ({"confirm": "nearby"} if tool == "destroy" else {})
            text = await refusal(client, f"opencode_{tool}", arguments)
            assert "did you mean nearly?" in text


@pytest.mark.parametrize("mode", ERAS)
async def test_hostile_names_and_urls_are_refused_and_nothing_is_written(served: tuple[World, int], mode: str) -> None:
    """Options, traversal, line breaks, helper transports, passwords, half a megabyte: a short sentence each."""
    world, port = served
    before = sorted(world.specs.rglob("*"))
    async with connect(world, port, mode) as client:
        for name in HOSTILE_NAMES:
            text = await refusal(client, "opencode_start", start_arguments(world, name))
            names = "as a project name: names are 1 to 63"
            assert (names if name else "cannot call opencode_start: project_name is missing") in text
            for tool in ("status", "stop", "restart"):
                assert len(await refusal(client, f"opencode_{tool}", {"project_name": name})) < 500
        for url in HOSTILE_URLS:
            text = await refusal(client, "opencode_start", {"project_name": "hostile", "git_url": url})
            assert text.startswith("cannot ")
            assert "secret-canary" not in text
            assert len(text) < 500
    assert sorted(world.specs.rglob("*")) == before


async def test_a_request_of_many_megabytes_is_not_read(served: tuple[World, int]) -> None:
    """And the endpoint goes on."""
    world, port = served
    headers = {"Authorization": f"Bearer {token(world)}", "Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
        answer = await http.post("/mcp", content=b'"' + b"x" * 2**21 + b'"')
        assert answer.status_code == 413
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("mode", ERAS)
async def test_the_text_of_a_key_is_refused_and_never_repeated(served: tuple[World, int], mode: str) -> None:
    """Not in the answer, not in a log, not in a spec."""
    world, port = served
    async with connect(world, port, mode) as client:
        text = await refusal(
            client, "opencode_start", {"project_name": "keyed", "git_url": "git@x.org:a/b", "user_ssh_key": KEY_TEXT}
        )

    assert "cannot" in text
    assert CANARY not in text
    assert not spec_folder.spec_path(world.specs, "keyed").exists()
    assert_nowhere(world, CANARY)


@pytest.mark.parametrize("seconds", [-1, 301, "soon"])
async def test_a_wait_that_makes_no_sense_is_refused_before_anything_is_written(
    served: tuple[World, int], seconds: Any
) -> None:
    """The schema says 0 to 300."""
    world, port = served
    async with connect(world, port) as client:
        await refusal(client, "opencode_start", start_arguments(world, "patient", seconds))

    assert not spec_folder.spec_path(world.specs, "patient").exists()


# -- destroy ----------------------------------------------------------------------------------------------------------


def answering(action: str, text: str = "") -> tuple[list[str], Callable[..., Awaitable[mcp_types.ElicitResult]]]:
    """A person at the client, who is shown questions."""
    asked: list[str] = []

    async def answer(_context: object, question: Any) -> mcp_types.ElicitResult:
        asked.append(question.message)
        content = {"project_name": text} if action == "accept" else None
        return mcp_types.ElicitResult.model_validate({"action": action, "content": content})

    return asked, answer


async def test_a_person_is_asked_before_a_destroy_and_can_say_no(served: tuple[World, int]) -> None:
    """Declined, cancelled, or with another name: nothing happens. With the right one it is done."""
    world, port = served
    world.light("asked", state="stopped")
    world.ready("asked")
    named = {"project_name": "asked", "wait_seconds": PATIENCE}
    for action, text in [("decline", ""), ("cancel", ""), ("accept", "another")]:
        asked, person = answering(action, text)
        async with connect(world, port, elicitation_callback=person) as client:
            assert "cannot destroy asked" in await refusal(client, "opencode_destroy", named)
        assert ["asked" in question for question in asked] == [True]
        assert "absent" not in spec_folder.spec_path(world.specs, "asked").read_text()

    asked, person = answering("accept", "asked")
    async with connect(world, port, elicitation_callback=person) as client:
        answer = await client.call_tool("opencode_destroy", named)

    assert fields(answer)["status"] == "success", said(answer)
    assert len(asked) == 1
    assert not spec_folder.spec_path(world.specs, "asked").exists()


@pytest.mark.parametrize("mode", ERAS)
async def test_without_a_person_a_destroy_needs_the_name_once_more(served: tuple[World, int], mode: str) -> None:
    """Nothing, or another name, is not enough."""
    world, port = served
    name = f"sure-{mode}"
    world.light(name, state="stopped")
    world.ready(name)
    async with connect(world, port, mode) as client:
        for confirm in ({}, {"confirm": ""}, {"confirm": "yes"}, {"confirm": name.upper()}):
            text = await refusal(client, "opencode_destroy", {"project_name": name, **confirm})
            assert "in confirm" in text
        assert spec_folder.spec_path(world.specs, name).exists()
        answer = await client.call_tool(
            "opencode_destroy", {"project_name": name, "confirm": name, "wait_seconds": PATIENCE}
        )

    assert fields(answer)["status"] == "success"


async def test_unpushed_work_blocks_a_destroy_with_the_list_of_it(served: tuple[World, int]) -> None:
    """An error that names the file; nothing is lost; told to discard it, it goes."""
    world, port = served
    world.light("worked")
    world.ready("worked")
    world.home.sandbox("worked").repo.joinpath("precious.txt").write_text("work\n")
    sure = {"project_name": "worked", "confirm": "worked", "wait_seconds": PATIENCE}
    async with connect(world, port) as client:
        blocked = await client.call_tool("opencode_destroy", sure)
        assert (blocked.is_error, fields(blocked)["status"]) == (True, "error")
        assert fields(blocked)["reason"] == "DestroyBlocked"
        assert "precious.txt" in said(blocked)
        assert world.home.sandbox("worked").repo.joinpath("precious.txt").exists()
        done = await client.call_tool("opencode_destroy", sure | {"discard_unpushed": True})

    assert fields(done)["status"] == "success", said(done)
    assert not world.home.sandbox("worked").path.exists()
