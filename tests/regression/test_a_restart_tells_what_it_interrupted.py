"""A restart ended what an agent was at, and nobody was told: OpenCode ends its answers first, as if aborted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.fakemodel import FakeModel, provider
from tests.support.world import PATIENCE, World, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="model")
def _model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


def client(world: World) -> httpx2.Client:
    url = world.ready("demo")["agent"]["url"]
    password = read_env(world.home.sandbox("demo").env_file)["OPENCODE_SERVER_PASSWORD"]
    return httpx2.Client(base_url=url, auth=("opencode", password), timeout=PATIENCE, trust_env=False)


def say(http: httpx2.Client, text: str) -> str:
    session: str = http.post("/session", json={"title": "t"}).json()["id"]
    parts = {"parts": [{"type": "text", "text": text}]}
    http.post(f"/session/{session}/prompt_async", json=parts).raise_for_status()
    return session


@pytest.mark.long
@pytest.mark.xdist_group("opencode")
def test_what_it_was_at_is_a_need_and_goes_on(real_world: World, model: FakeModel) -> None:
    """An answer and a permission that waited; not what a person had ended before."""
    config = provider(model.url) | {"permission": {"bash": "ask"}}
    real_world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(config)
    real_world.write("demo", f"git: {{url: {real_world.origin}}}\n")
    real_world.start()
    with client(real_world) as http:
        ended = say(http, "[[hold]]")
        real_world.until(lambda: model.prompts, "it to be asked")
        http.post(f"/session/{ended}/abort").raise_for_status()
        sessions = {say(http, "[[sleep:600]]"), say(http, '[[tool:bash {"command": "ls", "description": "x"}]]')}
        real_world.wait("demo", lambda status: [one["kind"] for one in status["needs"]] == ["permission"])
        real_world.until(lambda: len(model.prompts) == 3, "all of them to be asked")
        for _ in range(6):
            http.post("/session", json={"title": "newer"}).raise_for_status()

    real_world.run("restart", "demo")
    real_world.run("restart", "demo")

    status = real_world.wait("demo", lambda status: [one["kind"] for one in status["needs"]] == ["interrupted"])
    (need,) = status["needs"]
    assert set(need["sessions"]) == sessions
    asked = len(model.prompts)
    real_world.run("answer", "demo", need["id"], "resume")
    real_world.wait("demo", lambda status: not status["needs"] and status["activity"]["state"] == "idle")
    assert len(model.prompts) >= asked + 2
