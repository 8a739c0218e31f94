"""Sending a prompt, and following a session until it needs somebody or the time is up.

Level-triggered: an event only says "look now", so a lost one costs seconds, never the answer. The stream is opened
before the prompt is sent, so that nothing is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.opencode import session_state
from reconciler.agents.opencode.api import AgentError, Refused, ServerEvent, TooLarge, Unreachable
from reconciler.agents.opencode.session_state import Doubt, Message, SessionState, Snapshot, Verdict
from reconciler.agents.opencode.stream import Streamed
from reconciler.core.plain_text import plain
from reconciler.mcpkit import redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping

    from reconciler.agents.opencode.agent import OpenCodeAgent

    Report = Callable[[float, str], Awaitable[None]]

HEARTBEAT: Final = 8.0
"""Seconds between two reports at most: clients give up after 60 s of silence."""
BURST: Final = 0.3
"""Seconds between two reports at least, so that streamed words arrive in handfuls."""
LOOK: Final = 3.0
"""Seconds between two looks without any event."""
DOUBT_LOOK: Final = 1.0
"""The same while a verdict must last to count."""
DOUBT_LIMIT: Final = 2.0
"""Seconds that it must last."""
UNANSWERED_LIMIT: Final = 20.0
"""Seconds after which a prompt that the agent does not begin with is given up."""
RETRIES: Final = 3
"""Attempts at the model after which the caller gets a report."""
REPORT_CHARS: Final = 2_000
"""Of streamed text in one report."""
WINDOW: Final = 12
"""Messages looked at; a turn has one for each of its steps."""
LONG_WINDOW: Final = 200
"""The same for the answer to the caller, where that was too few."""
LATE: Final = 1.0
"""Seconds beyond the caller's limit that the agent may take to answer one look."""
LEAST: Final = 1.0
"""Seconds that sending has, with LATE, for a caller who does not want to wait at all."""
OPENING_LIMIT: Final = 10.0
"""Seconds for the event stream to open."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How a session stands when the caller is answered."""

    state: SessionState
    detail: str
    text: str
    message_id: str | None
    waiting: tuple[tuple[str, str], ...]
    """Id and description of what waits for a person."""


def silent(*, sending: bool) -> Turn:
    """Return the state of a turn whose agent did not answer in the caller's time.

    Args:
        sending: whether a message was on its way, and may have been taken.
    """
    lost = "the message may have been taken: call again without content to see" if sending else "nothing was sent to it"
    why = f"the OpenCode server does not answer; {lost}; opencode-server-health shows whether it does again, and"
    why += " opencode_status of the manager why not"
    return Turn(state=SessionState.ERROR, detail=why, text="", message_id=None, waiting=())


async def send(agent: OpenCodeAgent, session: str, body: Mapping[str, Any], message_id: str) -> None:
    """Send a prompt once.

    After a lost reply it is looked for, never sent again: OpenCode would answer both.

    Raises:
        AgentError: it was not taken; or, saying so, nobody knows.
    """
    try:
        await agent.opencode.post(f"/session/{session}/prompt_async", {**body, "messageID": message_id})
    except Unreachable as error:
        if not error.sent:
            raise
        if not await _arrived(agent, session, message_id):
            raise AgentError("cannot send the message: OpenCode did not take it; send it again") from None


async def _arrived(agent: OpenCodeAgent, session: str, message_id: str) -> bool:
    try:
        await agent.opencode.get(f"/session/{session}/message/{message_id}")
    except Refused as error:
        if error.status == 404:
            return False
        raise
    except Unreachable:
        raise AgentError(
            "cannot tell whether the message was taken: the OpenCode server went away; before you send it again, call"
            " opencode-session-message without content, or opencode-session-messages, to see"
        ) from None
    return True


async def look(agent: OpenCodeAgent, session: str) -> Snapshot:
    """Take a snapshot. The status comes first: what ends in between then shows as complete. Raises AgentError."""
    statuses = await agent.opencode.get("/session/status")
    return Snapshot(
        status=statuses.get(session) or {},
        messages=await _newest(agent, session),
        permissions=await pending(agent, "/permission", session),
        questions=await pending(agent, "/question", session),
    )


async def _newest(agent: OpenCodeAgent, session: str) -> list[Message]:
    """Return the newest messages, preceded by the prompt that they answer where it is not among them."""
    path = f"/session/{session}/message"
    try:
        raw = await agent.opencode.get(path, limit=WINDOW)
    except TooLarge:
        raw = await agent.opencode.get(path, limit=1)
    messages = [session_state.read_message(message) for message in raw]
    if messages and messages[-1].parent and not any(message.role == "user" for message in messages):
        with contextlib.suppress(Refused, TooLarge):  # then its id must do
            messages.insert(0, session_state.read_message(await agent.opencode.get(f"{path}/{messages[-1].parent}")))
    return messages


async def pending(agent: OpenCodeAgent, path: str, session: str) -> list[Mapping[str, Any]]:
    """Return the requests of this session and its subagents that wait for a person. Raises AgentError."""
    requests = await agent.opencode.get(path)
    return [request for request in requests if await _descends(agent, str(request.get("sessionID")), session)]


async def _descends(agent: OpenCodeAgent, child: str, session: str) -> bool:
    for _ in range(8):  # subagents start subagents, within reason
        if child == session:
            return True
        if not child:
            return False
        try:
            child = str((await agent.opencode.get(f"/session/{child}")).get("parentID") or "")
        except Refused:
            return False
    return False


class SessionFollower:
    """Follows one session for one caller."""

    def __init__(self, agent: OpenCodeAgent, session: str, report: Report) -> None:
        self._agent = agent
        self._session = session
        self._report = report
        self._streamed = Streamed()
        self._words = redact.StreamRedactor(agent.secrets)
        self._doing = "waiting for the OpenCode server to answer"
        self._news: asyncio.Queue[ServerEvent | None] = asyncio.Queue()
        self._opened = asyncio.Event()
        self._doubted = ("", Doubt.NONE)
        self._doubted_since = 0.0
        self._attempts: int | None = None
        self._started = self._reported = time.monotonic()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Keep the event stream open within the block, and reopen it when it breaks; no caller is left in silence."""
        async with _companion(self._listen()), _companion(self._await_stop()), _companion(self._beat()):
            with contextlib.suppress(TimeoutError):  # then looking now and then must do
                async with asyncio.timeout(OPENING_LIMIT):
                    await self._opened.wait()
            yield

    async def announce(self, text: str) -> None:
        """Tell the caller something that no secret can be in."""
        await self._report(max(time.monotonic() - self._started, 0.001), text)

    async def follow(self, since: str, seconds: float) -> Turn:
        """Wait until the session needs somebody, at most this long after the follower was made.

        Args:
            since: id of the message whose answer is wanted; what comes after it belongs to it.
            seconds: the limit.
        """
        deadline = self._started + seconds
        looked = next_look = time.monotonic()
        self._doing = "still working"
        while True:
            now = time.monotonic()
            last = now >= deadline or self._agent.stopping.is_set()
            if now >= next_look or last:
                sight, verdict = await self._judge(since, max(deadline - now, 0) + LATE)
                last = last or time.monotonic() >= deadline  # this look was the last one, if it took that long
                if last or self._counts(sight, verdict):
                    if verdict.state is not SessionState.RUNNING:
                        await self._report_rest()
                    return self._turn(await self._whole(sight), verdict, since)
                looked = time.monotonic()
                next_look = looked + (DOUBT_LOOK if verdict.doubt else LOOK)
            await self._report_when_due()
            if await self._wait(min(next_look, deadline)):
                next_look = min(next_look, looked + BURST)

    async def _judge(self, since: str, seconds: float) -> tuple[Snapshot, Verdict]:
        try:
            async with asyncio.timeout(seconds):
                sight = await look(self._agent, self._session)
        except (TimeoutError, Unreachable):
            detail = "the OpenCode server does not answer; it may be restarting: call again without content to see"
            return Snapshot(status={}, messages=()), Verdict(
                state=SessionState.ERROR, detail=detail, doubt=Doubt.UNREACHABLE
            )
        return sight, self._certain(sight, session_state.judge(sight, since))

    async def _whole(self, sight: Snapshot) -> Snapshot:
        """Add more of a long turn's messages, for its text."""
        if len(sight.messages) <= WINDOW:
            return sight
        with contextlib.suppress(AgentError, TimeoutError):  # the newest ones are what matters
            async with asyncio.timeout(LATE):
                raw = await self._agent.opencode.get(f"/session/{self._session}/message", limit=LONG_WINDOW)
                return dataclasses.replace(sight, messages=[session_state.read_message(message) for message in raw])
        return sight

    def _certain(self, sight: Snapshot, verdict: Verdict) -> Verdict:
        """Turn a doubtful verdict into an error once it has lasted."""
        newest = sight.newest
        doubted = (newest.id if newest else "", verdict.doubt)
        if doubted != self._doubted:
            self._doubted, self._doubted_since = doubted, time.monotonic()
        lasts = time.monotonic() - self._doubted_since >= DOUBT_LIMIT
        if verdict.doubt is Doubt.INTERRUPTED and lasts:
            detail = "the answer was interrupted: the OpenCode server was restarted or crashed; the session is kept"
            return Verdict(state=SessionState.ERROR, detail=f"{detail}, so send a message such as 'go on'")
        if verdict.doubt is Doubt.UNANSWERED and lasts:
            if self._streamed.error:
                return Verdict(state=SessionState.ERROR, detail=self._streamed.error)
            # By wall clock, as that is what messages carry; a wrong clock costs a wrong report, never a message.
            if newest is not None and time.time() - newest.created > UNANSWERED_LIMIT:
                detail = "the agent does not work on the message: it was restarted, or refused it; send it again"
                return Verdict(state=SessionState.ERROR, detail=detail)
        return verdict

    def _counts(self, sight: Snapshot, verdict: Verdict) -> bool:
        """Tell whether to report now. A model may fail once or twice; a caller who comes back is patient."""
        if self._attempts is None:
            self._attempts = session_state.attempts(sight)
        if verdict.state is SessionState.RETRY:
            return session_state.attempts(sight) >= max(RETRIES, self._attempts + 1)
        return verdict.state is not SessionState.RUNNING and verdict.doubt is not Doubt.UNREACHABLE

    async def _wait(self, until: float) -> bool:
        """Wait until this moment, until a report is due, or until there is news; True: look."""
        until = min(until, self._reported + (BURST if self._streamed.fresh else HEARTBEAT))
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                event = await self._news.get()
        except TimeoutError:
            return False
        wanted = event is None or self._streamed.take(event, self._session)
        while not self._news.empty():
            event = self._news.get_nowait()
            wanted = (event is None or self._streamed.take(event, self._session)) or wanted
        return wanted

    async def _report_when_due(self) -> None:
        """Report, when it is time to."""
        now = time.monotonic()
        if now - self._reported < (BURST if self._streamed.fresh else HEARTBEAT):
            return
        # Cut after it was cleaned: half a secret is not recognised.
        shown = self._words.clean(self._streamed.fresh)[-REPORT_CHARS:]
        self._streamed.fresh = ""
        if shown or now - self._reported >= HEARTBEAT:
            self._reported = now
            await self._report(now - self._started, shown or self._doing)

    async def _report_rest(self) -> None:
        """Report the rest of what was streamed, an end that was held back included: nothing follows it."""
        rest = self._words.clean(self._streamed.fresh) + self._words.rest()
        self._streamed.fresh = ""
        if rest:
            await self._report(time.monotonic() - self._started, rest[-REPORT_CHARS:])

    async def _beat(self) -> None:
        """Report when nobody else does, as while an answer of the agent is waited for."""
        while True:
            await asyncio.sleep(max(self._reported + HEARTBEAT - time.monotonic(), BURST))
            await self._report_when_due()

    def _turn(self, sight: Snapshot, verdict: Verdict, since: str) -> Turn:
        answers = sight.answers(since)
        streamed = self._streamed.parts
        stored = {key: text for one in answers for key, text in one.parts.items()}
        # What is being said is streamed at once and stored when it is complete.
        texts = [max(stored.get(key, ""), streamed.get(key, ""), key=len) for key in stored | streamed]
        waits = [*sight.permissions, *sight.questions]
        stopping = verdict.state is SessionState.RUNNING and self._agent.stopping.is_set()
        return Turn(
            state=verdict.state,
            detail="the bridge is being restarted" if stopping else verdict.detail,
            text="\n\n".join(text for text in texts if text),
            message_id=answers[-1].id if answers else None,
            waiting=tuple((str(one.get("id")), describe(one)) for one in waits),
        )

    async def _listen(self) -> None:
        """Feed the queue from the event stream, again and again."""
        while True:
            with contextlib.suppress(AgentError):
                async with self._agent.opencode.events() as events:
                    async for event in events:
                        self._opened.set()
                        self._news.put_nowait(event)
            self._news.put_nowait(None)
            await asyncio.sleep(1)  # between two attempts; there is nothing to wait for

    async def _await_stop(self) -> None:
        await self._agent.stopping.wait()
        self._news.put_nowait(None)


def describe(request: Mapping[str, Any]) -> str:
    """Describe what a person is asked, in one line."""
    if request.get("questions"):
        asked = "; ".join(
            f"{one.get('question')} ({' / '.join(str(o.get('label')) for o in one.get('options') or ())})"
            for one in request["questions"]
        )
        return plain(asked, 500)
    patterns = ", ".join(str(pattern) for pattern in request.get("patterns") or ())
    return plain(f"{request.get('permission')}: {patterns}", 500)


@contextlib.asynccontextmanager
async def _companion(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a task as long as the block lasts. Not a task group, which would wrap the block's own exceptions."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error
