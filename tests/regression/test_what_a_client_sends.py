"""Arguments as clients and models really send them, at all tools of both endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from mcp import Client

from tests.support.alltools import ENDPOINTS, make_endpoint, tools_of
from tests.support.bothforms import text_of
from tests.support.fakecontroller import make_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp.server import MCPServer
    from mcp_types import Tool

CANARY = "canary-0123456789"
BOTH = pytest.mark.parametrize("name", ENDPOINTS)
IDS = {"sessionId": "ses_1", "messageId": "msg_1", "parentID": "ses_2", "requestId": "per_1"}
VALUES: dict[str, Any] = {
    "git_url": "git@host:path",
    "reply": "once",
    "answers": [["a"]],
    "answer": ["once"],
    "model": "a/b",
}


@pytest.fixture(name="servers", scope="module")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MCPServer[Any]]:
    """Both, made once: that takes half a second."""
    settings = make_settings(tmp_path_factory.mktemp("servers"))
    return {name: make_endpoint(name, settings) for name in ENDPOINTS}


def right(tool: Tool, only: str = "required") -> dict[str, Any]:
    """Arguments that a tool takes: the required ones, or all."""
    schema = tool.input_schema
    names = schema.get("required", []) if only == "required" else schema["properties"]
    values = IDS | VALUES | ({"requestId": "que_1"} if "question" in tool.name else {})
    examples = {"string": "text", "number": 0, "integer": 1, "boolean": False}
    return {name: values.get(name, examples.get(schema["properties"][name]["type"])) for name in names}


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema within a schema; the names of properties are none."""
    if isinstance(schema, list):
        for one in schema:
            yield from nodes(one)
    elif isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            yield from nodes(list(value.values()) if key in {"properties", "$defs"} else value)


@BOTH
async def test_every_client_can_read_the_input_schemas(servers: dict[str, MCPServer[Any]], name: str) -> None:
    """Plain types: one client refuses the whole request at an `anyOf`, another cannot call what may be null."""
    tools = await tools_of(servers[name])

    assert len(tools) == {"address": 30, "bridge": 21}[name]
    for tool in tools:
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        for node in nodes(tool.input_schema):
            assert not node.keys() & {"anyOf", "oneOf", "allOf", "$ref", "$defs", "title", "pattern"}, tool.name
            assert node.get("type") in {"object", "string", "number", "integer", "boolean", "array"}, tool.name
            assert "default" not in node or node["default"] is not None, tool.name


@BOTH
async def test_output_schemas_have_no_null_either(servers: dict[str, MCPServer[Any]], name: str) -> None:
    """What is empty is left out, so nothing is ever null."""
    for tool in await tools_of(servers[name]):
        assert tool.output_schema
        assert tool.output_schema["type"] == "object"
        for node in nodes(tool.output_schema):
            assert not node.keys() & {"anyOf", "title", "default"}, tool.name
            assert node.get("type") != "null"


async def said(servers: dict[str, MCPServer[Any]], name: str, tool: str, arguments: dict[str, Any]) -> str:
    """What a call is answered; the same in both protocol eras."""
    texts = set()
    for mode in ("auto", "legacy"):
        async with Client(servers[name], mode=mode) as client:
            texts.add(text_of(await client.call_tool(tool, arguments)))
    (text,) = texts
    return text


@BOTH
async def test_empty_null_and_absent_mean_the_same(servers: dict[str, MCPServer[Any]], name: str) -> None:
    """For every optional argument of every tool: no schema, no tool and no message makes a difference."""
    async with Client(servers[name]) as client:
        for tool in (await client.list_tools()).tools:
            properties, given = tool.input_schema["properties"], right(tool)
            optional = [one for one in properties if one not in given and one != "wait_seconds"]
            quick = {"wait_seconds": 0} if "wait_seconds" in properties else {}
            absent = text_of(await client.call_tool(tool.name, given | quick))
            for empty in ("", None):
                sent = given | quick | dict.fromkeys(optional, empty)
                assert text_of(await client.call_tool(tool.name, sent)) == absent, (tool.name, empty)


@pytest.mark.parametrize("empty", ["", None, "null", " "])
@pytest.mark.parametrize("key", ["wait_seconds", "waitSeconds"])
async def test_an_empty_number_is_its_default(servers: dict[str, MCPServer[Any]], key: str, empty: str | None) -> None:
    """Models fill in `""`, frameworks null, some the word."""
    answer = await said(servers, "address", "opencode_stop", {"project_name": "app", key: empty})

    assert answer.startswith("cannot stop app: there ")


@BOTH
async def test_every_spelling_of_every_argument_is_taken(servers: dict[str, MCPServer[Any]], name: str) -> None:
    """Snake case, camel case and capitals, for the six tools as for the agents'."""
    async with Client(servers[name]) as client:
        for tool in (await client.list_tools()).tools:
            given = right(tool, "all") | ({"wait_seconds": 0} if "wait_seconds" in right(tool, "all") else {})
            plain = text_of(await client.call_tool(tool.name, given))
            assert "cannot call" not in plain, tool.name
            for spell in (snake, camel, str.upper):
                sent = {spell(key): value for key, value in given.items()}
                assert text_of(await client.call_tool(tool.name, sent)) == plain, (tool.name, sent.keys())


def snake(key: str) -> str:
    return "".join(f"_{one.lower()}" if one.isupper() and key != "parentID" else one for one in key)


def camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word.capitalize() for word in rest)


async def test_project_and_project_name_are_one(servers: dict[str, MCPServer[Any]]) -> None:
    """A model that mixes the two families is understood."""
    for tool, key, verb in (("opencode_status", "project", "show"), ("opencode-vcs-diff", "project_name", "reach")):
        assert (await said(servers, "address", tool, {key: "app"})).startswith(f"cannot {verb} app: there ")


async def test_one_argument_in_two_spellings_must_say_one_thing(servers: dict[str, MCPServer[Any]]) -> None:
    """Else nobody knows what was meant."""
    twice = {"project_name": "app", "project": "other"}

    assert await said(servers, "address", "opencode_status", twice) == (
        "cannot call opencode_status: project_name is given twice, with different values"
    )
    assert "cannot call" not in await said(servers, "address", "opencode_status", twice | {"project": "app"})


@BOTH
async def test_keys_that_clients_add_are_ignored(servers: dict[str, MCPServer[Any]], name: str) -> None:
    """Cursor's dummy and n8n's four, at every tool: the answer is the same as without."""
    added = {"random_string": CANARY, "sessionId": "ses_1", "action": "send", "chatInput": CANARY, "toolCallId": "c"}
    async with Client(servers[name]) as client:
        for tool in (await client.list_tools()).tools:
            given = right(tool) | ({"wait_seconds": 0} if "wait_seconds" in tool.input_schema["properties"] else {})
            plain = text_of(await client.call_tool(tool.name, given))
            assert text_of(await client.call_tool(tool.name, added | given)) == plain, tool.name


@pytest.mark.parametrize(
    ("tool", "key", "meant"),
    [
        ("opencode_start", "wait_second", "wait_seconds"),
        ("opencode_start", "url", "git_url"),
        ("opencode_start", "ssh_key", "user_ssh_key"),
        ("opencode_stop", "timeout", "wait_seconds"),
        ("opencode_status", "projct_name", "project_name"),
        ("opencode_status", "name", "project_name"),
        ("opencode_destroy", "force", "discard_unpushed"),
        ("opencode-session-create", "name", "title"),
        ("opencode-session-list", "max", "limit"),
        ("opencode-session-message", "prompt", "content"),
        ("opencode-session-message", "timeout", "waitSeconds"),
        ("opencode-session-get", "session", "sessionId"),
        ("opencode-file-content", "file_path", "path"),
        ("opencode-file-content", "offset", "firstLine"),
    ],
)
async def test_a_likely_misspelling_is_refused_by_name(
    servers: dict[str, MCPServer[Any]], tool: str, key: str, meant: str
) -> None:
    """Nothing that a person could have meant is dropped."""
    where = {"project": "app"} if tool.startswith("opencode-") else {}

    answer = await said(servers, "address", tool, {**where, key: CANARY})

    assert answer == f"cannot call {tool}: it takes no {key}; did you mean {meant}?"


async def test_what_nobody_knows_is_ignored_and_said_to_be(servers: dict[str, MCPServer[Any]]) -> None:
    """In both forms; a key that may be a pasted secret is not repeated."""
    async with Client(servers["address"]) as client:
        result = await client.call_tool("opencode_list", {"colour": CANARY, f"-----BEGIN {CANARY}": 1})

    sentence = "ignored colour and an argument with an odd name: opencode_list takes no arguments"
    assert sentence in text_of(result)
    assert (result.structured_content or {})["ignored"] == sentence
    assert CANARY not in result.model_dump_json()


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("opencode-session-list", {}, "project is missing"),
        ("opencode-session-message", {"content": "x"}, "project and sessionId are missing"),
        ("opencode_start", {"project_name": ""}, "project_name and git_url are missing"),
        ("opencode_start", {"project_name": ["x"], "git_url": "u"}, "project_name must be text"),
        ("opencode_stop", {"project_name": "a", "wait_seconds": CANARY}, "wait_seconds must be a number"),
        ("opencode_stop", {"project_name": "a", "wait_seconds": 301}, "wait_seconds must be at most 300"),
        (
            "opencode_destroy",
            {"project_name": "a", "discard_unpushed": CANARY},
            "discard_unpushed must be true or false",
        ),
        ("opencode-session-list", {"project": "a", "limit": 0}, "limit must be at least 1"),
        ("opencode-session-list", {"project": "a", "limit": 1.5}, "limit must be a whole number"),
        (
            "opencode-session-create",
            {"project": "a", "model": CANARY},
            "model must look like provider/model; opencode-providers-list has them",
        ),
        (
            "opencode-session-get",
            {"project": "a", "sessionId": CANARY},
            "sessionId must be the id of a session, which looks like ses_...; opencode-session-list has them",
        ),
        (
            "opencode-permission-reply",
            {"project": "a", "requestId": "per_1", "reply": CANARY},
            "reply must be 'once', 'always' or 'reject'",
        ),
        (
            "opencode-question-reply",
            {"project": "a", "requestId": "que_1", "answers": [[1], CANARY]},
            "answers[0][0] must be text; answers[1] must be a list",
        ),
        ("opencode-session-create", {"project": "a", "title": "x" * 201}, "title must have at most 200 characters"),
    ],
)
async def test_a_wrong_argument_is_reported_in_one_sentence(
    servers: dict[str, MCPServer[Any]], tool: str, arguments: dict[str, Any], sentence: str
) -> None:
    """Which, and what it must be; never what was sent, nor another library's words."""
    assert await said(servers, "address", tool, arguments) == f"cannot call {tool}: {sentence}"


async def test_a_flood_of_arguments_is_refused_at_once(servers: dict[str, MCPServer[Any]]) -> None:
    """Comparing each with all of ours would hold up everybody else."""
    answer = await said(servers, "address", "opencode_list", {f"argument{number}": 1 for number in range(10_000)})

    assert answer == "cannot call opencode_list: 10000 arguments are far more than it takes"


async def test_numbers_and_booleans_may_come_as_text(servers: dict[str, MCPServer[Any]]) -> None:
    """Many clients send them so."""
    for sent in (
        {"wait_seconds": "0", "discard_unpushed": "false"},
        {"wait_seconds": "0.5", "discard_unpushed": "True"},
    ):
        arguments = {"project_name": "app", "confirm": "app", **sent}
        assert (await said(servers, "address", "opencode_destroy", arguments)).startswith("cannot destroy app: there ")
