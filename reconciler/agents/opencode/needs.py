"""Ask an OpenCode what waits for a person, what was interrupted, and whether a provider refused it; answer it."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.base import CallError, Consent, EventFeed, NotWaitingError, ReplyError, Request
from reconciler.agents.opencode import attention, shapes
from reconciler.agents.opencode.kind import OPENCODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.agents.base import Reply, Wire
    from reconciler.core.observed import EndedRun, PendingRequest

RECENT: Final = 5
"""Sessions that are asked whether a restart interrupted them where no earlier run is known: the last used ones."""
MOST: Final = 50
"""The same, of those used since the first run that is known began: each is a call."""
EVENTS: Final = EventFeed(
    request=Request(path="/event"),
    news=(
        b'"type":"permission.',
        b'"type":"question.',
        b'"type":"session.status"',
        b'"type":"session.idle"',
        b'"type":"session.error"',
    ),
    silence=25.0,  # it sends a heartbeat every 10 (measured)
)
CONTINUE: Final = "Continue: a restart interrupted you."
"""What a conversation that broke off is asked, so that it goes on."""
_UNSEEN: Final = (CallError, ValueError)
"""No answer, or one of another shape."""
_ID: Final = re.compile(r"(per|que)_[A-Za-z0-9]{1,64}")
_PATIENCE: Final = 20.0
"""Seconds for an answer to be taken: it is worth more than a probe, which is made again."""
_DECIDED: Final = {Consent.ONCE: "once", Consent.ALWAYS: "always", Consent.DENY: "reject"}


async def waiting(wire: Wire, sessions: Mapping[str, Any]) -> tuple[PendingRequest, ...]:
    """Return what waits for a person; nothing where that cannot be seen."""
    try:
        listed = await wire.ask(Request(path=OPENCODE.permission_path))
        unlisted = listed.status == HTTPStatus.BAD_REQUEST
        permissions = () if unlisted else shapes.read("GET", OPENCODE.permission_path, listed.body)
        found = attention.of(permissions, await _get(wire, OPENCODE.question_path), sessions)
        return (*((attention.unlisted(),) if unlisted else ()), *found)
    except _UNSEEN:
        return ()


async def interrupted(wire: Wire, ended: Sequence[EndedRun]) -> tuple[str, ...] | None:
    """Return the sessions whose last answer broke off, and that do not work at it now; None: not seen.

    One that a subagent works in is left out: it is part of the one that began it.
    """
    query = f"?limit={RECENT}"
    if ended:
        query = f"?limit={MOST}&roots=true&start={min(one.started for one in ended) * 1000:.0f}"
    try:
        newest = await _newest(wire, query, await _get(wire, OPENCODE.ready_path))
    except _UNSEEN:
        return None
    return tuple(name for name, messages in newest.items() if attention.broke_off(messages, ended))


async def refused(wire: Wire, started: float) -> tuple[PendingRequest, ...] | None:
    """Return whether a model provider refused the newest message of this run; None where it cannot be seen."""
    try:
        newest = await _newest(wire, "?limit=1", {})
        return tuple(one for messages in newest.values() for one in attention.refusal(messages, started))
    except _UNSEEN:
        return None


async def resume(wire: Wire, session: str) -> None:
    """Send the prompt; what it works at then is seen. Raises CallError."""
    if not session.replace("_", "").isalnum():
        raise CallError("it has no session of that name")
    body = json.dumps({"parts": [{"type": "text", "text": CONTINUE}]}).encode()
    path = f"{OPENCODE.sessions_path}/{session}/prompt_async"
    found = await wire.ask(Request(path=path, method="POST", body=body))
    if found.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        raise CallError(f"it answers {found.status}")


async def answer(wire: Wire, request_id: str, reply: Reply) -> None:
    """Answer a permission or a question. Raises as `Driver.answer`."""
    match = _ID.fullmatch(request_id)
    if match is None:
        raise ReplyError("cannot answer this: its id is none of a permission or a question")
    if match[1] == "per":
        path, body = f"{OPENCODE.permission_path}/{request_id}/reply", _permission_reply(reply)
    elif reply.consent is Consent.DENY:
        path, body = f"{OPENCODE.question_path}/{request_id}/reject", {}
    else:
        path, body = f"{OPENCODE.question_path}/{request_id}/reply", await _question_reply(wire, request_id, reply)
    posted = await wire.ask(Request(path=path, method="POST", body=json.dumps(body).encode()), _PATIENCE)
    if posted.status == HTTPStatus.NOT_FOUND:
        raise NotWaitingError
    if posted.status != HTTPStatus.OK:
        raise CallError(f"it answers {posted.status}")


def _permission_reply(reply: Reply) -> dict[str, str]:
    if reply.consent is None:
        raise ReplyError("cannot answer a permission with a text: say once, always or deny")
    body = {"reply": _DECIDED[reply.consent]}
    return body | {"message": reply.word} if reply.word else body


async def _question_reply(wire: Wire, request_id: str, reply: Reply) -> dict[str, Any]:
    """Return the answers: OpenCode takes any number of them, and loses what was not asked (measured)."""
    asked = [one for one in await _seen(wire, OPENCODE.question_path) if one.get("id") == request_id]
    if not asked:
        raise NotWaitingError
    wanted = len(shapes.records(asked[0].get("questions")))
    if reply.consent is not None:
        raise ReplyError(f"cannot answer a question with {reply.consent}: give its options or a text, or deny")
    if len(reply.answers) != wanted:
        raise ReplyError(f"cannot answer: it asks {wanted} questions; give an answer to each, in their order")
    return {"answers": [list(one) for one in reply.answers]}


async def _newest(wire: Wire, query: str, busy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the newest message of each of these sessions that nothing works at."""
    names = attention.at_rest(await _get(wire, OPENCODE.sessions_path, query), busy)
    return {name: await _get(wire, f"{OPENCODE.sessions_path}/{name}/message", "?limit=1") for name in names}


async def _get(wire: Wire, path: str, query: str = "") -> Any:  # noqa: ANN401  of the shape of this call's answers
    """Raises CallError, or ValueError for another shape."""
    listed = await wire.ask(Request(path=path + query))
    if listed.status != HTTPStatus.OK:
        raise CallError(f"it answers {listed.status}")
    return shapes.read("GET", path, listed.body)


async def _seen(wire: Wire, path: str) -> Any:  # noqa: ANN401  as above
    """Raises CallError, also for another shape."""
    try:
        return await _get(wire, path)
    except ValueError as error:
        raise CallError(str(error)) from None
