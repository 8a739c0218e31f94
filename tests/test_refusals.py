"""Who refuses whom: an agent that does not take its password, and a model provider that does not take the agent."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.fakemodel import FakeModel, provider
from tests.support.world import Status, World, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 180.0


def test_an_agent_that_refuses_the_right_password_is_never_ready(world: World) -> None:
    """And never sent to a loop of restarts: status says which port does not take which password."""
    world.light("app", mode="deny")
    world.start()

    status = world.wait("app", lambda status: status["reason"] == "AuthFailed")

    assert (status["ready"]["status"], status["stalled"]["status"], status["agent"]["restarts"]) == (False, True, 0)
    assert f"port {status['agent']['port']}: it does not accept the password from .env" in status["message"]


@pytest.fixture(name="model")
def _model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


def prompt(world: World, ready: Status, session: str, text: str) -> str:
    """Say something to the real agent, past its bridge, in a session of this id or a new one; the session's id."""
    password = read_env(world.home.sandbox("app").env_file)["OPENCODE_SERVER_PASSWORD"]
    pair = base64.b64encode(f"opencode:{password}".encode()).decode()
    with httpx2.Client(base_url=ready["agent"]["url"], headers={"authorization": f"Basic {pair}"}, timeout=60) as http:
        name = session or http.post("/session", json={"title": "test"}).json()["id"]
        parts: dict[str, Any] = {"parts": [{"type": "text", "text": text}]}
        assert http.post(f"/session/{name}/message", json=parts).status_code == 200
    return str(name)


@pytest.mark.xdist_group("opencode")
async def test_a_provider_that_refuses_the_agent_is_shown_until_it_takes_it_again(
    real_world: World, model: FakeModel
) -> None:
    """With what to do, while the agent itself is well; an answer ends it, and so does a new start."""
    real_world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url))
    real_world.environment["OPENCODE_MANAGER_LIVENESS"] = "1"
    real_world.write("app", f"git: {{url: {real_world.origin}}}\n")
    real_world.start()

    def wait(reason: str) -> Status:
        return real_world.wait("app", lambda status: status["reason"] == reason, PATIENCE)

    ready = await asyncio.to_thread(wait, "Running")
    session = await asyncio.to_thread(prompt, real_world, ready, "", "[[error:401]]")
    shown = await asyncio.to_thread(wait, "ProviderRefused")
    assert shown["ready"]["status"]
    assert "provider fake refused the agent with status 401; mend its credentials" in shown["message"]

    await asyncio.to_thread(prompt, real_world, ready, session, "hello")
    await asyncio.to_thread(wait, "Running")

    await asyncio.to_thread(prompt, real_world, ready, session, "[[error:403]]")
    await asyncio.to_thread(wait, "ProviderRefused")
    await asyncio.to_thread(real_world.run, "restart", "app")
    anew = await asyncio.to_thread(wait, "Running")
    assert anew["agent"]["pid"] != ready["agent"]["pid"]
