"""What the real agent goes through is shown in status, each with what to do: one project for all of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.bridge import call
from tests.support.fakemodel import FakeModel, provider
from tests.support.frontends import reach
from tests.support.live import PATIENCE, PERMISSIONS, use
from tests.support.world import Status, World, a_world, git, make_repository, read_env

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from mcp import Client

pytestmark = [pytest.mark.xdist_group("shown"), pytest.mark.long]


@pytest.fixture(name="model", scope="module")
def _model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


@pytest.fixture(name="world", scope="module")
def _world(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], opencode_program: Path, model: FakeModel
) -> Iterator[World]:
    """With `app`, which asks before it does some things."""
    with a_world(tmp_path_factory.mktemp("shown"), ports) as world:
        world.provide(opencode_program)
        world.environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(model.url) | {"permission": PERMISSIONS})
        world.environment["OPENCODE_MANAGER_LIVENESS"] = "1"
        world.write("app", f"git: {{url: {world.origin}}}\n")
        world.start()
        yield world


async def comes(world: World, wanted: Callable[[Status], bool], name: str = "app") -> Status:
    return await asyncio.to_thread(world.wait, name, wanted, PATIENCE)


def has(reason: str) -> Callable[[Status], bool]:
    return lambda status: status["reason"] == reason


@contextlib.asynccontextmanager
async def session(world: World) -> AsyncIterator[tuple[Client, str]]:
    """A client of the bridge, and a session of the agent."""
    ready = await comes(world, has("Running"))
    bearer = read_env(world.home.sandbox("app").env_file)["MCP_TOOL_BEARER_TOKEN"]
    async with reach(ready["bridge"]["url"], bearer, patience=PATIENCE) as client:
        yield client, (await call(client, "session-create", title="test"))["sessionId"]


async def say(client: Client, to: str, content: str, wait: float = PATIENCE, **options: str) -> str:
    """Say it; what state the session is in then."""
    answer = await call(client, "session-message", sessionId=to, content=content, waitSeconds=wait, **options)
    return str(answer["state"])


async def test_an_agent_that_waits_for_a_person(world: World) -> None:
    """A permission that is asked for is a reason in status, not a silent Running."""
    async with session(world) as (client, its):
        order = use("bash", command="touch asked", description="touch")
        assert await say(client, its, order) == "waiting_permission"

        shown = await comes(world, has("WaitingForPermission"))

        assert shown["ready"]["status"]
        assert "touch asked" in shown["message"]
        (asked,) = (await call(client, "permission-list"))["permissions"]
        await call(client, "permission-reply", requestId=asked["requestId"], reply="once")
        await comes(world, has("Running"))
        await call(client, "session-message", sessionId=its, waitSeconds=PATIENCE)
    assert world.home.sandbox("app").repo.joinpath("asked").exists()


async def test_a_provider_that_refuses_the_agent(world: World) -> None:
    """Until it takes it again, while the agent itself is well."""
    async with session(world) as (client, its):
        await say(client, its, "[[error:401]]")
        shown = await comes(world, has("ProviderRefused"))
        assert shown["ready"]["status"]
        assert "provider fake refused the agent with status 401; fix its credentials" in shown["message"]

        await say(client, its, "hello")
        await comes(world, has("Running"))


async def test_a_provider_that_nobody_serves(world: World) -> None:
    """As long as the agent tries to reach it."""
    async with session(world) as (client, its):
        await say(client, its, "Hello", wait=2, model="dead/m1")
        shown = await comes(world, has("ProviderUnreachable"))
        assert "attempts" in shown["message"]
        await call(client, "session-abort", sessionId=its)
        await comes(world, has("Running"))


async def test_after_the_controller_and_the_agent_were_killed(world: World, model: FakeModel) -> None:
    """Of the controller: the same pid. Of the agent: a new one, counted, with its cause and the work it interrupted."""
    async with session(world) as (client, its):
        refused = (await call(client, "session-create", title="refused"))["sessionId"]
        await say(client, its, "[[hold]]", wait=2)
        await say(client, refused, "[[error:403]]")
        before = await comes(world, has("ProviderRefused"))
        world.kill()
        world.start()
        adopted = await comes(
            world, lambda status: status["ready"]["status"] and status["observed"] > before["observed"]
        )
        assert adopted["agent"]["pid"] == before["agent"]["pid"]
        os.kill(before["agent"]["pid"], signal.SIGKILL)

        def named(status: Status) -> bool:
            return any(f"interrupted the work in {its}" in warning for warning in status["warnings"])

        shown = await comes(world, lambda status: named(status) and bool(status["ready"]["status"]))
        assert shown["reason"] == "Running"  # no longer refused: a new start may be because that was fixed
        assert shown["agent"]["pid"] != before["agent"]["pid"]
        assert shown["agent"]["restarts"] == before["agent"]["restarts"] + 1
        assert shown["agent"]["last_exit"] == "signal 9"
        model.release()
        await say(client, its, "go on")
        await comes(world, lambda status: not named(status))


async def test_a_broken_configuration(world: World) -> None:
    """Where, and what to do; a restart after that is enough."""
    origin = make_repository(world.root / "broken")
    origin.joinpath("opencode.json").write_text('{"model": 5}')
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "A broken configuration")
    world.write("broken", f"git: {{url: {origin}}}\n")
    shown = await comes(world, has("ConfigInvalid"), "broken")
    assert shown["stalled"]["status"]
    assert "opencode.json, at model (ConfigInvalidError): fix it" in shown["message"]

    world.home.sandbox("broken").repo.joinpath("opencode.json").write_text("{}")
    await asyncio.to_thread(world.run, "restart", "broken")
    await comes(world, has("Running"), "broken")
