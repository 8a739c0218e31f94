"""The bridge against a real OpenCode when things go wrong: stalls, crashes, lost replies, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

import pytest

from reconciler.bridge import talk, turn
from reconciler.bridge.agent import Agent
from reconciler.bridge.config import from_environment
from reconciler.bridge.opencode import AgentError
from reconciler.bridge.opencode import OpenCode as Api
from tests.support import bridge as support
from tests.support.bridge import Bridge, call, refusal
from tests.support.fakemodel import STALLED, FakeModel
from tests.support.live import PATIENCE, _bridge, _calm, _model, _opencode, cut_wire, say, saying, session, use

if TYPE_CHECKING:
    from tests.support.opencode import OpenCode

__all__ = ["_bridge", "_calm", "_model", "_opencode"]

pytestmark = pytest.mark.xdist_group("bridge-trouble")  # one OpenCode for all of them


async def test_an_abort_ends_the_run_and_is_reported(bridge: Bridge) -> None:
    """Whoever waits is told; the session goes on to live."""
    heard = asyncio.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert progress <= (total or 0)
        if STALLED.split()[0] in (message or ""):
            heard.set()

    async with session(bridge) as (client, session_id):
        arguments = {"sessionId": session_id, "content": "[[hold]] a", "waitSeconds": PATIENCE}
        talking = asyncio.create_task(client.call_tool("opencode-session-message", arguments, progress_callback=listen))
        await asyncio.wait_for(heard.wait(), PATIENCE)
        aborted = await call(client, "session-abort", sessionId=session_id)
        told = (await talking).structured_content or {}
        again = await call(client, "session-abort", sessionId=session_id)
        after = await say(client, session_id, "hello")

    assert aborted["done"]
    assert told["state"] == "error"
    assert told["detail"] == "the run was aborted"
    assert told["text"] == STALLED
    assert again == {"done": False, "detail": "there was nothing to abort"}
    assert after["text"] == "You said: hello"


async def test_a_call_returns_in_time_and_the_next_one_waits_on(bridge: Bridge, model: FakeModel) -> None:
    """Never silent, never late, nothing lost: a heartbeat, the text so far, then the rest."""
    heard: list[str] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert progress <= (total or 0)
        heard.append(message or "")

    async with session(bridge) as (client, session_id):
        arguments = {"sessionId": session_id, "content": "[[hold]] b", "waitSeconds": talk.HEARTBEAT + 3}
        result = await client.call_tool("opencode-session-message", arguments, progress_callback=listen)
        soon = await say(client, session_id, waitSeconds=0)
        model.release()
        rest = await say(client, session_id)

    running = result.structured_content or {}
    assert running["state"] == "running"
    assert running["text"] == STALLED
    assert "again without content" in running["detail"]
    assert "still working" in heard
    assert soon["state"] == "running"
    assert (rest["state"], rest["text"]) == ("done", f"{STALLED}, and that is it.")


async def test_the_same_again_is_not_sent_twice_and_more_is_queued(bridge: Bridge, model: FakeModel) -> None:
    """A client that lost its answer repeats itself; OpenCode would do it twice."""
    async with session(bridge) as (client, session_id), saying(client, session_id, "[[hold]] c", model) as first:
        again = await say(client, session_id, "[[hold]] c", waitSeconds=0)
        more = await say(client, session_id, "and then", waitSeconds=0)
        model.release()
        done = await first
        last = await say(client, session_id)
        messages = await call(client, "session-messages", sessionId=session_id)

    said = [one["text"] for one in messages["messages"] if one["role"] == "user"]
    assert list(said) == ["[[hold]] c", "and then"]
    assert (again["state"], again["queued"]) == ("running", False)
    assert more["state"] == "running"
    assert more["queued"]
    assert done["text"].startswith(STALLED)
    assert last["text"] == "You said: and then"


async def test_a_client_that_leaves_loses_nothing(bridge: Bridge, model: FakeModel) -> None:
    """The agent works on, and another client hears the end."""
    async with session(bridge) as (leaver, session_id), saying(leaver, session_id, "[[hold]] d", model) as talking:
        talking.cancel()
        await asyncio.wait([talking])
        async with bridge.client() as client:
            status = await call(client, "session-get", sessionId=session_id)
            model.release()
            done = await say(client, session_id)

    assert status["status"] == "busy"
    assert (done["state"], done["text"]) == ("done", f"{STALLED}, and that is it.")


async def test_an_unreachable_model_is_told_and_can_be_aborted(bridge: Bridge) -> None:
    """OpenCode would retry for ever; the caller is told, with the reason and the way out."""
    async with session(bridge) as (client, session_id):
        retried = await say(client, session_id, "hello", model="dead/m1", waitSeconds=60)
        await call(client, "session-abort", sessionId=session_id)
        after = await say(client, session_id)

    assert retried["state"] == "retry"
    assert "opencode-session-abort" in retried["detail"]
    assert after["state"] == "error"


async def test_an_unknown_model_is_an_error(bridge: Bridge) -> None:
    """OpenCode takes such a prompt and then stays silent; the reason is only in its event stream."""
    async with session(bridge) as (client, session_id):
        failed = await say(client, session_id, "hello", model="nobody/nothing")

    assert failed["state"] == "error"
    assert "nobody" in failed["detail"]


async def test_a_killed_agent_is_waited_for_and_the_interruption_reported(
    bridge: Bridge, opencode: OpenCode, model: FakeModel
) -> None:
    """Killed in the middle of an answer and started again: the caller is told, the session is there and goes on."""
    async with session(bridge) as (client, session_id), saying(client, session_id, "[[hold]] e", model) as talking:
        await asyncio.to_thread(opencode.kill)
        down = await refusal(client, "session-list")
        await asyncio.to_thread(opencode.start)
        told = await talking
        listed = await call(client, "session-list")
        after = await say(client, session_id, "hello again")

    assert "cannot reach" in down
    assert told["state"] == "error"
    assert "interrupted" in told["detail"]
    assert session_id in [one["sessionId"] for one in listed["sessions"]]
    assert after["text"] == "You said: hello again"


async def test_it_ends_on_term_with_a_call_open(opencode: OpenCode, model: FakeModel) -> None:
    """The waiting call is answered, and the agent works on."""
    log = opencode.sandbox / "second.log"
    with support.running(opencode.url, opencode.repo, log) as second:
        async with session(second) as (client, session_id), saying(client, session_id, "[[hold]] f", model) as talking:
            status = await asyncio.to_thread(second.stop)
            told = await talking
    busy = opencode.call("GET", "/session/status")[1]

    assert status == -signal.SIGTERM
    assert told["state"] == "running"
    assert "being restarted" in told["detail"]
    assert session_id in busy
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("deliver", [True, False])
async def test_after_a_lost_reply_the_prompt_is_looked_for_and_never_sent_again(
    opencode: OpenCode, bridge: Bridge, *, deliver: bool
) -> None:
    """It was taken: all is well, once. It was not: the caller is told to send it again."""
    _, made = opencode.call("POST", "/session", {"title": "lost"})
    path = f"/session/{made['id']}"
    async with cut_wire(opencode.port, deliver=deliver) as port:
        config = from_environment(bridge.environment() | {"OPENCODE_URL": f"http://127.0.0.1:{port}"})
        api = Api(config)
        agent = Agent(project="demo", opencode=api, repo=opencode.repo, stopping=asyncio.Event(), secrets=())
        body = {"parts": [{"type": "text", "text": "only once"}]}
        refused = contextlib.nullcontext() if deliver else pytest.raises(AgentError, match="take it; send it again")
        with refused:
            await talk.send(agent, made["id"], body, turn.message_id(made["time"]["created"] / 1000 + 1))
        await api.close()
    stored = opencode.call("GET", f"{path}/message")[1]

    assert len([one for one in stored if one["info"]["role"] == "user"]) == (1 if deliver else 0)


async def test_a_silent_agent_is_told_in_time(bridge: Bridge, opencode: OpenCode) -> None:
    """One that takes every connection and answers none; it is at work again once it goes on."""
    async with session(bridge) as (client, session_id):
        assert opencode.process
        opencode.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            told = await say(client, session_id, "hello", waitSeconds=1)
            took = time.monotonic() - began
        finally:
            opencode.process.send_signal(signal.SIGCONT)
        again = await say(client, session_id, "hello")

    assert (told["state"], told["messageId"]) == ("error", None)
    assert "does not answer; nothing was sent to it; opencode_status" in told["detail"]
    assert took < 1 + talk.LATE + 5  # far below the 30 s that the calls of one look could take together
    assert (again["state"], again["text"]) == ("done", "You said: hello")


async def test_the_prompt_of_a_long_turn_is_found(
    bridge: Bridge, opencode: OpenCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn has a message for each step: more are looked at when the prompt is not among the newest few."""
    async with session(bridge) as (client, session_id):
        told = await say(client, session_id, use("glob", pattern="*"))
        api = Api(from_environment(bridge.environment()))
        agent = Agent(project="p", opencode=api, repo=opencode.repo, stopping=asyncio.Event(), secrets=())
        monkeypatch.setattr(talk, "WINDOWS", (2, 200))
        sight = await talk.look(agent, session_id)
        await api.close()

    assert sight.prompt is not None
    assert [message.role for message in sight.messages] == ["user", "assistant", "assistant"]
    assert sight.answers(sight.prompt.id)[-1].id == told["messageId"]
