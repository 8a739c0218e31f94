"""Hostile values for every string parameter of every tool, of the controller and of a bridge before a real agent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support import faults
from tests.support.canaries import Life, begun
from tests.support.fakemodel import FakeModel, provider
from tests.support.faults import Recorder
from tests.support.frontends import connect, said
from tests.support.world import a_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp import Client
    from mcp_types import CallToolResult

    from tests.support.scoreboard import Score

pytestmark = pytest.mark.xdist_group("hostile")  # one controller for all of them
STILL: dict[str, tuple[str, dict[str, Any]]] = {
    "controller": ("opencode_list", {}),
    "bridge": ("opencode-server-health", {}),
}
"""How each frontend shows that it answers."""
RAW = (("opencode_status", "project_name"), ("opencode-file-content", "path"), ("opencode-session-create", "title"))
OPTIONS = ("--upload-pack", "-oProxyCommand", "--config", "-x")


def hostile(root: Path) -> list[str]:
    """What a model could be talked into sending. Each command in them would make a file named `owned`."""
    owned = f"touch {root}/owned"
    options = [f"--upload-pack={owned}", f"-oProxyCommand={owned}", f"--config=core.pager={owned}", "-x"]
    paths = [
        "../" * 8 + f"{root}/outside.txt",
        f"{root}/outside.txt",
        "../../../../outside.txt",
        ".git/../../.env",
        "..%2f.env",
    ]
    shell = [f"$({owned})", f"`{owned}`", f"x; {owned};", f"x | {owned} |", f"x\n{owned}\n", f"ext::sh -c {owned}"]
    text = [
        "real\nstate: absent",
        "nul\0byte",
        "r\u0435al",
        "\u202elaer",
        "real ",
        "REAL",
        "",
        "\x1b[2J",
        "x" * 1_000_000,
    ]
    return [*options, *paths, *shell, *text]


@pytest.fixture(name="attacked", scope="module")
def _attacked(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], opencode_program: Path
) -> Iterator[Life]:
    """A controller with one real agent, every helper program recorded, and a secret outside all clones."""
    root = tmp_path_factory.mktemp("hostile")
    with a_world(root, ports) as world, FakeModel() as model:
        world.provide(opencode_program)
        world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url))
        recorder = Recorder(root / "recorder", "git", "ssh", "ssh-keygen", "npm")
        world.environment["PATH"] = f"{recorder.path}:{world.environment['PATH']}"
        life = Life(world, recorder)
        life.env("real", {})
        life.plant_token()
        root.joinpath("outside.txt").write_text(life.canaries.make("file outside"))
        world.write("real", f"git: {{url: {world.origin}}}\n")
        life.serve()
        world.ready("real")
        yield life


async def attack(life: Life, frontend: Client, score: Score) -> None:
    """Every string parameter of every tool behind a frontend gets a hostile value; in the long form each value."""
    values = hostile(life.world.root)
    known: dict[str, Any] = {"project": "real", "project_name": "hostile", "git_url": "ssh://git@127.0.0.1:1/x.git"}
    known |= {"wait_seconds": 0, "waitSeconds": 0}
    async with connect(life.world, life.port) as client:
        known["sessionId"] = await begun(client)
    turn = 0
    for tool in (await frontend.list_tools()).tools:
        places = len(list(faults.variants(tool.input_schema, tool.input_schema, known, "")))
        for place in range(places):
            for value in values if score.full else (values[turn % len(values)],):
                if tool.name == "opencode_destroy" and len(value) > 10_000:
                    continue  # test_a_megabyte_for_a_name
                arguments = list(faults.variants(tool.input_schema, tool.input_schema, known, value))[place]
                answer = await frontend.call_tool(tool.name, arguments)
                score.tried()
                judge(life, score, f"{tool.name} {str(arguments)[:200]}", answer)
            turn += 1


async def attack_raw(life: Life, frontend: str, score: Score) -> None:
    """What no client would send: half a character, more than the limit, no JSON at all."""
    names = {"controller": ("token of the controller", f"http://127.0.0.1:{life.port}/mcp")}
    secret, url = names.get(frontend) or ("token of real", life.world.status("real")["bridge"]["url"])
    headers = {
        "authorization": f"Bearer {life.canaries.values[secret].decode()}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": "2025-06-18",
    }
    calls = [(name, key) for name, key in RAW if frontend == "controller" or not name.startswith("opencode_")]
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        for name, key in calls:
            for value in ("\ud83d", "x" * 2**21):
                arguments = {"project": "real", key: value} if frontend == "controller" else {key: value}
                params = {"name": name, "arguments": arguments}
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
                answer = await http.post(url, content=body.encode())
                score.tried()
                fine = answer.status_code < 500 and "Traceback" not in answer.text
                score.expect(fine, f"{name} {key}={value[:9]!r}: {answer.status_code} {answer.text[:300]}")
                score.expect(not life.canaries.within(answer.content), f"{name}: says a secret")


def judge(life: Life, score: Score, call: str, answer: CallToolResult) -> None:
    """An answer is a result or one clear sentence, and holds no secret."""
    text = said(answer)
    if answer.is_error:
        score.expect(text.startswith("cannot ") and "Traceback" not in text, f"{call}: says {text[:300]!r}")
        score.expect(len(text) < 2000, f"{call}: an error of {len(text)} characters")
    found = life.canaries.within(answer.model_dump_json().encode())
    score.expect(not found, f"{call}: says {found}")


@pytest.mark.parametrize("frontend", ["controller", "bridge"])
async def test_hostile_arguments(attacked: Life, score: Score, frontend: str) -> None:
    """Hostile values in every string of every tool: refused in one sentence, nothing outside, no option smuggled."""
    life, outside = attacked, set(attacked.world.root.iterdir())
    specs = set(life.world.specs.iterdir())
    connection = connect(life.world, life.port) if frontend == "controller" else life.bridge("real")
    async with connection as client:
        await attack(life, client, score)
        await attack_raw(life, frontend, score)
        score.expect(not (await client.call_tool(*STILL[frontend])).is_error, "it does not answer any more")
    score.expect(set(life.world.root.iterdir()) == outside, f"made {set(life.world.root.iterdir()) - outside}")
    made = set(life.world.specs.iterdir()) - specs - {life.world.specs / "hostile.yaml"}
    score.expect(not made, f"wrote {made}")
    for arguments, _ in life.recorder.calls():
        smuggled = faults.options_among(arguments, OPTIONS)
        score.expect(not smuggled, f"{arguments[0]} got {smuggled}")
    score.expect(all(controller.poll() is None for controller in life.world.controllers), "the controller ended")


async def test_a_megabyte_for_a_name(attacked: Life, score: Score) -> None:
    """An error never repeats a megabyte that was sent."""
    async with connect(attacked.world, attacked.port) as client:
        for tool in ("start", "status", "stop", "restart", "destroy"):
            arguments = {"project_name": "x" * 1_000_000} | ({"git_url": "x"} if tool == "start" else {})
            answer = await client.call_tool(f"opencode_{tool}", arguments)
            score.tried()
            score.expect(len(said(answer)) < 2000, f"opencode_{tool} says {len(said(answer))} characters")
    assert not score.violations


async def test_refused_arguments_are_not_repeated(attacked: Life, score: Score) -> None:
    """Text of a key sent as an argument that is refused comes back in no answer."""
    value = attacked.canaries.make("sent by mistake")
    known = {"project": "real", "project_name": "hostile", "sessionId": "ses_1", "waitSeconds": 0, "wait_seconds": 0}
    refused = 0
    async with connect(attacked.world, attacked.port) as client:
        for tool in (await client.list_tools()).tools:
            schema = tool.input_schema
            every = [*faults.variants(schema, schema, known, f"\n{value}"), {"nonsense": value}]
            for arguments in every if score.full else every[-2:]:
                answer = await client.call_tool(tool.name, arguments)
                score.tried()
                if said(answer).startswith(f"cannot call {tool.name}: "):
                    refused += 1
                    score.expect(value[:16] not in said(answer), f"{tool.name} repeats what was sent")
    assert refused
    assert not score.violations
