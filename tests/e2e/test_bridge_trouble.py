"""The bridge against a real OpenCode when things go wrong: stalls, crashes, lost replies, clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from subprocess import PIPE
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.agents.opencode import follow, session_state
from reconciler.agents.opencode.agent import OpenCodeAgent
from reconciler.agents.opencode.api import AgentError
from reconciler.bridge.config import from_environment
from reconciler.mcpkit import redact
from tests.support import bridge as support
from tests.support.bridge import Bridge, call, connect, refusal
from tests.support.fakemodel import STALLED, FakeModel
from tests.support.live import (
    PATIENCE,
    _bridge,
    _calm,
    _model,
    _opencode,
    cut_wire,
    nearby,
    say,
    saying,
    session,
    use,
)
from tests.support.opencode import PASSWORD
from tests.support.runs import record_leader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.opencode import OpenCode

__all__ = ["_bridge", "_calm", "_model", "_opencode"]

pytestmark = [pytest.mark.xdist_group("bridge-trouble"), pytest.mark.long]  # one OpenCode for all of them

DOOMED = """
import asyncio, os
from pathlib import Path
from tests.support.bridge import Bridge

async def main():
    async def listen(progress, total, message):
        if "Thinking" in (message or ""):
            print(message.strip(), flush=True)

    bridge = Bridge(agent_url="", repo=Path(), log=Path(), port=int(os.environ["BRIDGE_PORT"]))
    async with bridge.client() as client:
        arguments = {"sessionId": os.environ["SESSION"], "content": "[[hold]] doomed", "waitSeconds": 120}
        await client.call_tool("opencode-session-message", arguments, progress_callback=listen)

asyncio.run(main())
"""
"""A client that says what it hears, until it is killed."""


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
        answer = (await talking).structured_content or {}
        again = await call(client, "session-abort", sessionId=session_id)
        after = await say(client, session_id, "hello")

    assert aborted["done"]
    assert answer["state"] == "error"
    assert answer["detail"] == "the run was aborted"
    assert answer["text"] == STALLED
    assert again == {"done": False, "detail": "there was nothing to abort"}
    assert after["text"] == "You said: hello"


async def test_a_call_returns_in_time_and_the_next_one_waits_on(bridge: Bridge, model: FakeModel) -> None:
    """Never silent, never late, nothing lost: a heartbeat, the text so far, then the rest."""
    heard: list[str] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert progress <= (total or 0)
        heard.append(message or "")

    async with session(bridge) as (client, session_id):
        arguments = {"sessionId": session_id, "content": "[[hold]] b", "waitSeconds": follow.HEARTBEAT + 3}
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


async def test_a_client_that_cancels_loses_nothing(bridge: Bridge, model: FakeModel) -> None:
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


async def test_a_client_that_is_killed_loses_nothing(bridge: Bridge, model: FakeModel) -> None:
    """Its connections are cut in the middle of an answer: the agent works on, and another client hears the end."""
    async with session(bridge) as (client, session_id):
        environment = os.environ | {"BRIDGE_PORT": str(bridge.port), "SESSION": session_id}
        doomed = await asyncio.create_subprocess_exec(sys.executable, "-c", DOOMED, env=environment, stdout=PIPE)
        try:
            assert doomed.stdout
            heard = await doomed.stdout.readline()
            connected = [
                one for one in psutil.Process(doomed.pid).net_connections("tcp") if one.status == "ESTABLISHED"
            ]
        finally:
            doomed.kill()
            await doomed.wait()
        status = await call(client, "session-get", sessionId=session_id)
        model.release()
        done = await say(client, session_id)
        messages = await call(client, "session-messages", sessionId=session_id)

    assert heard.decode().strip() == STALLED
    assert connected
    assert status["status"] == "busy"
    assert (done["state"], done["text"]) == ("done", f"{STALLED}, and that is it.")
    assert [one["role"] for one in messages["messages"]] == ["user", "assistant"]


async def test_an_unreachable_model_is_reported_and_can_be_aborted(bridge: Bridge) -> None:
    """OpenCode would retry for ever; the caller is told, with the reason and the way out."""
    async with session(bridge) as (client, session_id):
        retried = await say(client, session_id, "hello", model="dead/m1", waitSeconds=60)
        await call(client, "session-abort", sessionId=session_id)
        after = await say(client, session_id)

    assert retried["state"] == "retry"
    assert "opencode-session-abort" in retried["detail"]
    assert after["state"] == "error"


async def test_an_unknown_model_is_an_error(bridge: Bridge) -> None:
    """OpenCode takes such a prompt and then stays silent; the same with another model helps at once."""
    async with session(bridge) as (client, session_id):
        failed = await say(client, session_id, "hello", model="nobody/nothing")
        fixed = await say(client, session_id, "hello", model="fake/m1")

    assert failed["state"] == "error"
    assert "nobody" in failed["detail"]
    assert (fixed["state"], fixed["text"]) == ("done", "You said: hello")


async def test_a_killed_agent_is_waited_for_and_the_interruption_reported(
    bridge: Bridge, opencode: OpenCode, model: FakeModel
) -> None:
    """Killed in the middle of an answer and started again: the caller is told, the session is there and goes on."""
    async with session(bridge) as (client, session_id), saying(client, session_id, "[[hold]] e", model) as talking:
        await asyncio.to_thread(opencode.kill)
        down = await refusal(client, "session-list")
        await asyncio.to_thread(opencode.start)
        answer = await talking
        listed = await call(client, "session-list")
        after = await say(client, session_id, "hello again")

    assert "cannot reach" in down
    assert answer["state"] == "error"
    assert "interrupted" in answer["detail"]
    assert session_id in [one["sessionId"] for one in listed["sessions"]]
    assert after["text"] == "You said: hello again"


async def test_it_ends_on_term_with_a_call_open(opencode: OpenCode, model: FakeModel) -> None:
    """The waiting call is answered, and the agent works on."""
    log = opencode.sandbox / "second.log"
    with support.running(opencode.url, opencode.repo, log) as second:
        async with session(second) as (client, session_id), saying(client, session_id, "[[hold]] f", model) as talking:
            status = await asyncio.to_thread(second.stop)
            answer = await talking
    busy = opencode.call("GET", "/session/status")[1]

    assert status == -signal.SIGTERM
    assert answer["state"] == "running"
    assert "being restarted" in answer["detail"]
    assert session_id in busy
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("deliver", [True, False])
async def test_after_a_lost_reply_the_prompt_is_looked_for_and_never_sent_again(
    opencode: OpenCode, bridge: Bridge, tmp_path: Path, *, deliver: bool
) -> None:
    """It was taken: all is well, once. It was not: the caller is told to send it again."""
    _, made = opencode.call("POST", "/session", {"title": "lost"})
    path = f"/session/{made['id']}"
    async with cut_wire(opencode.port, deliver=deliver) as port:
        changed = {"OPENCODE_URL": f"http://127.0.0.1:{port}", "OCM_RUN": str(record_leader(tmp_path))}
        config = from_environment(bridge.environment() | changed)
        api = connect(config)
        agent = OpenCodeAgent(project="demo", opencode=api, repo=opencode.repo, stopping=asyncio.Event(), secrets=())
        body = {"parts": [{"type": "text", "text": "only once"}]}
        refused = contextlib.nullcontext() if deliver else pytest.raises(AgentError, match="take it; send it again")
        with refused:
            await follow.send(agent, made["id"], body, session_state.message_id(made["time"]["created"] / 1000 + 1))
        await api.close()
    stored = opencode.call("GET", f"{path}/message")[1]

    assert len([one for one in stored if one["info"]["role"] == "user"]) == (1 if deliver else 0)


@contextlib.contextmanager
def stopped(opencode: OpenCode) -> Iterator[None]:
    """The agent takes every connection within, and answers none."""
    assert opencode.process
    opencode.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        opencode.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("seconds", [1, follow.HEARTBEAT + 1])
async def test_a_silent_agent_is_reported_in_time(bridge: Bridge, opencode: OpenCode, seconds: float) -> None:
    """No call is later than a second, none is silent, and nothing was sent; it is at work again once it goes on."""
    heard: list[str] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert progress <= (total or 0)
        heard.append(message or "")

    async with session(bridge) as (client, session_id):
        arguments = {"sessionId": session_id, "content": "hello", "waitSeconds": seconds}
        with stopped(opencode):
            result = await client.call_tool("opencode-session-message", arguments, progress_callback=listen)
            heard_at_end = list(heard)  # while the agent still answers nobody: no answer of it ended the call
        answer = result.structured_content or {}
        again = await say(client, session_id, "hello")

    assert answer["state"] == "error"
    assert "messageId" not in answer
    assert "does not answer; nothing was sent to it; opencode-server-health" in answer["detail"]
    assert "opencode_status" in answer["detail"]
    assert heard_at_end == (["waiting for the OpenCode server to answer"] if seconds > follow.HEARTBEAT else [])
    assert (again["state"], again["text"]) == ("done", "You said: hello")


async def test_an_agent_that_falls_silent_at_work_is_reported_in_time(
    bridge: Bridge, opencode: OpenCode, model: FakeModel
) -> None:
    """Whoever waits hears that it does not answer; nothing is lost once it goes on."""
    async with session(bridge) as (client, session_id):
        model.stalled.clear()
        talking = asyncio.create_task(say(client, session_id, "[[hold]] g", waitSeconds=8))
        assert await asyncio.to_thread(model.stalled.wait, PATIENCE)
        with stopped(opencode):  # it ends though the agent answers nobody
            answer = await talking
        model.release()
        rest = await say(client, session_id)

    assert answer["state"] == "error"
    assert "does not answer" in answer["detail"]
    assert (rest["state"], rest["text"]) == ("done", f"{STALLED}, and that is it.")


async def test_a_turn_of_many_steps_is_followed_and_not_begun_twice(bridge: Bridge, model: FakeModel) -> None:
    """A turn has a message for each step: its prompt is known though it is far behind."""
    steps = "".join(use("glob", pattern=f"*.{number}") for number in range(follow.WINDOW + 3))
    content = f"{steps} [[hold]]"
    async with session(bridge) as (client, session_id), saying(client, session_id, content, model) as first:
        again = await say(client, session_id, content, waitSeconds=0)
        model.release()
        done = await first
        after = await say(client, session_id)
        messages = await call(client, "session-messages", sessionId=session_id, limit=100)

    assert [one["role"] for one in messages["messages"]] == ["user", *["assistant"] * (follow.WINDOW + 4)]
    assert (again["state"], again["queued"]) == ("running", False)
    assert (done["state"], done["text"]) == ("done", f"{STALLED}, and that is it.")
    assert (after["state"], after["text"], after["messageId"]) == ("done", done["text"], done["messageId"])


async def test_a_prompt_without_an_answer_is_sent_again(
    bridge: Bridge, opencode: OpenCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash just when it was taken: the error says to send it again, and doing so helps."""
    monkeypatch.setattr(follow, "UNANSWERED_LIMIT", 3.0)
    _, made = opencode.call("POST", "/session", {"title": "unanswered"})
    body = {"parts": [{"type": "text", "text": "hello"}], "noReply": True}
    opencode.call("POST", f"/session/{made['id']}/message", body)
    async with nearby(bridge) as client:
        joined = await say(client, made["id"], "hello")
        again = await say(client, made["id"], "hello")

    assert joined["state"] == "error"
    assert "send it again" in joined["detail"]
    assert (again["state"], again["text"]) == ("done", "You said: hello")


async def test_no_half_of_a_secret_is_streamed(bridge: Bridge, model: FakeModel) -> None:
    """The agent says its password in two pieces, with a silence between them long enough for a heartbeat."""
    heard: list[str] = []
    beat = asyncio.Event()

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert progress <= (total or 0)
        heard.append(message or "")
        if message == "still working":
            beat.set()

    async with session(bridge) as (client, session_id):
        arguments = {"sessionId": session_id, "content": f"[[halves:{PASSWORD}]]", "waitSeconds": PATIENCE}
        tool = "opencode-session-message"
        talking = asyncio.create_task(client.call_tool(tool, arguments, progress_callback=listen))
        await asyncio.wait_for(beat.wait(), PATIENCE)
        half = await say(client, session_id, waitSeconds=0)
        model.release()
        done = (await talking).structured_content or {}

    shown = "".join(heard) + half["text"]
    assert PASSWORD[: len(PASSWORD) // 2] not in shown
    assert PASSWORD[len(PASSWORD) // 2 :] not in shown
    assert redact.HIDDEN in heard
    assert done["text"] == redact.HIDDEN
