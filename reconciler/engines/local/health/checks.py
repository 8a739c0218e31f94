"""Whether a service is what it claims to be: looked at over HTTP, and proved.

Belongs here: the proof of readiness and the probe of liveness, for agents and bridges.
Does not belong here: what to do about the answer (`plan`).

Every request is on a new connection with a short limit: OpenCode accepts connections before its request handler is
attached, and what arrives in that gap is never answered (measured: up to 4 s with 8 starting at once).
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.opencode import attention
from reconciler.core.observed import Attention, Health, Probe, Service
from reconciler.core.plain_text import plain
from reconciler.engines.local.health.http1 import Call, CallError, ask
from reconciler.engines.local.processes import listener

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.agents.opencode.kind import AgentKind
    from reconciler.core.observed import Now
    from reconciler.engines.local.health.http1 import Answer
    from reconciler.engines.local.processes.listener import Listener

QUICK: Final = 1.0
"""Seconds for each cheap call of a proof."""
LIVENESS: Final = 3.0
"""Seconds for one call of a liveness probe. All its calls together have twice as long: the first may be too much for an
agent that loads its project, and the second tells whether it lives at all."""
LOADING: Final = 30.0
"""Seconds for the first call that loads the project."""
MISSES: Final = 3
"""Liveness probes missed in a row before a service counts as unresponsive: a busy agent misses some."""

RECENT: Final = 5
"""Sessions that are asked whether a restart interrupted them: the last ones that were used."""

BRIDGE_READY: Final = "/ready"
"""Of our own bridge: behind the token, and without loading the MCP library, which would cost 45 MB per project."""

_INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "opencode-manager", "version": "1"},
    },
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a service listens and how it is spoken to."""

    port: int
    secret: str = field(repr=False)
    run_dir: Path
    kind: AgentKind | None = None
    """None: a bridge."""
    foreign: bool = False
    """A bridge that is the user's own tool: it has no `/ready`, so it is asked in MCP itself."""
    proof: Listener | None = None
    """Who was proved to listen: the only one that is ever sent the secret."""

    @property
    def service(self) -> str:
        """The service's name."""
        return (Service.AGENT if self.kind else Service.BRIDGE).value

    def proved(self) -> Target:
        """The same with who listens now.

        Raises:
            CallError: nobody listens, or somebody who is not proved to be ours.
        """
        try:
            return replace(self, proof=listener.proved(self.run_dir, self.service, self.port))
        except listener.NotProvedError as error:
            raise CallError(str(error)) from None

    def call(self, path: str, method: str = "GET", *, secret: bool = True) -> Call:
        """A call of a rightful client, or of one without the secret."""
        if not secret:
            return Call(port=self.port, path=path, method=method)
        return Call(port=self.port, path=path, method=method, headers=self._authorization(), proof=self.proof)

    def open_call(self) -> Call:
        """A call without the secret."""
        if self.foreign:
            return self.initialize_call(secret=False)
        return self.call(self.kind.live_path if self.kind else BRIDGE_READY, secret=False)

    def live_call(self) -> Call:
        """The cheapest call that shows life: of a bridge, its refusal."""
        return self.call(self.kind.live_path) if self.kind else self.open_call()

    def initialize_call(self, *, secret: bool) -> Call:
        """The first call of an MCP client."""
        headers = {"accept": "application/json, text/event-stream"} | (self._authorization() if secret else {})
        body = json.dumps(_INITIALIZE).encode()
        return Call(port=self.port, path="/mcp", method="POST", headers=headers, body=body, proof=self.proof)

    def _authorization(self) -> dict[str, str]:
        if self.kind is None:
            return {"authorization": f"Bearer {self.secret}"}
        pair = f"{self.kind.user}:{self.secret}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}


class _Steps:
    """The calls of one probe, which have one deadline.

    Args:
        target: who is asked.
        limit: seconds for all of them together.
    """

    def __init__(self, target: Target, limit: float) -> None:
        self.target = target
        self._deadline = time.monotonic() + limit

    async def ask(self, call: Call, limit: float | None = None) -> Answer:
        """The answer to one of them, waited for no longer than `limit` or `LIVENESS` seconds. Raises CallError."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CallError("no answer in time")
        return await ask(call, min(LIVENESS if limit is None else limit, left))


async def prove(target: Target, now: Now, quick: float = QUICK) -> Probe:
    """One attempt at the whole proof: it refuses without the secret and answers a real call with it.

    Args:
        target: who.
        now: the clock.
        quick: seconds for each cheap call of it; all of it takes no longer than `LOADING`.
    """
    probe = Probe(at=now.boot, at_wall=now.wall)
    try:
        target = target if target.proof else target.proved()
        steps = _Steps(target, LOADING)
        refused = await steps.ask(target.open_call(), quick)
        if refused.status != HTTPStatus.UNAUTHORIZED:
            detail = f"cannot trust port {target.port}: it answers {refused.status} without the password"
            return replace(probe, health=Health.UNPROTECTED, detail=detail)
        return await _answers(steps, probe, quick)
    except CallError as error:
        return replace(probe, detail=str(error))


async def live(target: Target, before: Probe, now: Now, *, written: int = 0, started: float = 0.0) -> Probe:
    """One liveness probe of a proved listener, counted on top of the last one; at most twice `LIVENESS` seconds.

    Args:
        target: who, with the proof.
        before: the last one.
        now: the clock.
        written: when an agent wrote its journal last: how its work ended is asked only after it worked.
        started: wall clock time of its start.
    """
    steps = _Steps(target, 2 * LIVENESS)
    told = await _told(steps)
    if told is not None and (broken := _broken_config(told)):
        return replace(before, health=Health.CONFIG_INVALID, at=now.boot, at_wall=now.wall, misses=0, detail=broken)
    sessions = _sessions(told)
    if sessions is None:
        try:
            answer = await steps.ask(target.live_call())
        except CallError as error:
            return missed(before, now, str(error))
        if answer.status != (HTTPStatus.OK if target.kind else HTTPStatus.UNAUTHORIZED):
            return missed(before, now, f"it answers {answer.status}", answers=True)
    asked = await _attention(steps, sessions) if sessions else ()
    cut = () if before.interrupted == () else await _interrupted(steps)
    refused = before.refused
    if written != before.written:
        found = await _refused(steps, started)
        refused, written = (refused, before.written) if found is None else (found, written)
    return Probe(
        health=Health.READY,
        at=now.boot,
        at_wall=now.wall,
        attention=asked + refused,
        interrupted=cut,
        refused=refused,
        plugins=before.plugins,
        written=written,
    )


async def _told(steps: _Steps) -> Answer | None:
    """What an agent says it works at: one call that shows life and tells whether more is to be asked."""
    if (kind := steps.target.kind) is not None:
        with contextlib.suppress(CallError):
            return await steps.ask(steps.target.call(kind.ready_path))
    return None


def _sessions(told: Answer | None) -> dict[str, Any] | None:
    """The sessions that are at work, by name; None where that was not told."""
    try:
        sessions = told.json() if told is not None and told.status == HTTPStatus.OK else None
    except ValueError:
        return None
    return sessions if isinstance(sessions, dict) else None


async def _attention(steps: _Steps, sessions: dict[str, Any]) -> tuple[Attention, ...]:
    """What within an agent at work waits for a person. Nothing where it cannot be told."""
    if (kind := steps.target.kind) is None:
        return ()
    try:
        paths = (kind.permission_path, kind.question_path)
        permissions, questions = [(await steps.ask(steps.target.call(path))).json() for path in paths]
        return tuple(attention.of(permissions, questions, sessions))
    except (CallError, ValueError, TypeError, KeyError, AttributeError):
        return ()


async def _interrupted(steps: _Steps) -> tuple[str, ...]:
    """The recent sessions whose last answer broke off, and that do not work at it now."""
    if (kind := steps.target.kind) is None:
        return ()
    try:
        busy = await steps.ask(steps.target.call(kind.ready_path))
        newest = await _newest(kind, steps, RECENT, busy.json())
        return tuple(name for name, messages in newest.items() if attention.broke_off(messages))
    except (CallError, ValueError, TypeError, KeyError, AttributeError):
        return ()


async def _refused(steps: _Steps, started: float) -> tuple[Attention, ...] | None:
    """Whether a model provider refused the newest message of this run; None where it cannot be told."""
    if (kind := steps.target.kind) is None:
        return ()
    try:
        newest = await _newest(kind, steps, 1, {})
        return tuple(one for messages in newest.values() for one in attention.refusal(messages, started))
    except (CallError, ValueError, TypeError, KeyError, AttributeError):
        return None


async def _newest(kind: AgentKind, steps: _Steps, count: int, busy: dict[str, Any]) -> dict[str, Any]:
    """The newest message of each of the last used sessions that nothing works at."""
    target = steps.target
    listed = await steps.ask(target.call(f"{kind.sessions_path}?limit={count}"))
    names = attention.at_rest(listed.json(), busy)
    calls = [target.call(f"{kind.sessions_path}/{name}/message?limit=1") for name in names]
    return {name: (await steps.ask(call)).json() for name, call in zip(names, calls, strict=True)}


async def dispose(target: Target) -> None:
    """Ask an agent to end what it started itself. Best effort: its tree is emptied anyway."""
    if target.kind is not None:
        with contextlib.suppress(CallError):
            await ask(target.proved().call(target.kind.dispose_path, method="POST"), LIVENESS)


async def _answers(steps: _Steps, probe: Probe, quick: float) -> Probe:
    """A real call with the secret."""
    target = steps.target
    if target.foreign:
        answer = await steps.ask(target.initialize_call(secret=True), LOADING)
    elif target.kind is None:
        answer = await steps.ask(target.call(BRIDGE_READY), quick)
    else:
        answer = await steps.ask(target.call(target.kind.ready_path), LOADING)  # it has answered once: it answers
    if answer.status == HTTPStatus.OK:
        if target.kind is not None and not _is_json(answer):
            return replace(probe, detail="it answers with a page, which no agent does")
        return replace(probe, health=Health.READY)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return replace(probe, health=Health.REFUSING, detail=_wrong(target))
    if broken := _broken_config(answer):
        return replace(probe, health=Health.CONFIG_INVALID, detail=broken)
    return replace(probe, detail=f"it answers {answer.status}")


def _broken_config(answer: Answer) -> str:
    """Which configuration the agent cannot load, and what to do; empty for any other answer.

    Never what it quotes: its message may hold the whole file, keys of model providers included.
    """
    try:
        told = answer.json() if answer.status == HTTPStatus.BAD_REQUEST else {}
        name, data = str(told.get("name", "")), told.get("data") or {}
        message, path = str(data.get("message", "")), str(data.get("path") or "")
        keys = [".".join(map(str, issue["path"])) for issue in data.get("issues") or () if issue.get("path")]
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    if not name.startswith("Config"):
        return ""
    line = re.search(r"\bline (\d+)", message)
    where = f" {plain(path)}" if path else ""
    where += f", line {line[1]}" if line else ""
    where += f", at {plain(', '.join(keys[:3]), 200)}" if keys else ""
    return f"cannot load the agent's configuration{where} ({plain(name, 60)}): mend it; it is tried again by itself"


def _is_json(answer: Answer) -> bool:
    try:
        return isinstance(answer.json(), dict | list)
    except ValueError:
        return False


def missed(before: Probe, now: Now, detail: str, *, answers: bool = False) -> Probe:
    """One more probe that was missed: it got no answer, or a wrong one."""
    misses = before.misses + 1
    health = Health.UNRESPONSIVE if misses >= MISSES else before.health
    return replace(before, health=health, at=now.boot, misses=misses, detail=detail, answers=answers)


def _wrong(target: Target) -> str:
    return f"cannot trust port {target.port}: it does not accept the password from .env"
