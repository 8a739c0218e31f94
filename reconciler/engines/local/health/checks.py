"""Prove that a service is ready, and probe whether it is alive, over HTTP.

Every request is on a new connection with a short limit: an agent may accept connections before its request handler is
attached, and what arrives in that gap is never answered (measured: up to 4 s with 8 starting at once).
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from reconciler.agents.base import REFUSAL, Request
from reconciler.core import needs
from reconciler.core.observed import Health, Probe, Service
from reconciler.engines.local.health import http1
from reconciler.engines.local.health.http1 import Call, CallError, ask
from reconciler.engines.local.processes import listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from reconciler.agents.base import Driver
    from reconciler.core.observed import EndedRun, Now
    from reconciler.engines.local.health.http1 import Answer, HttpStream
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

BRIDGE_READY: Final = Request(path="/ready")
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
class ProbeTarget:
    """Where a service listens and how it is spoken to."""

    port: int
    secret: str = field(repr=False)
    run_dir: Path
    driver: Driver | None = None
    """None: a bridge."""
    foreign: bool = False
    """A bridge that is the user's own tool: it has no `/ready`, so it is asked in MCP itself."""
    proof: Listener | None = None
    """Who was proved to listen: the only one that is ever sent the secret."""

    @property
    def service(self) -> str:
        """The service's name."""
        return (Service.AGENT if self.driver else Service.BRIDGE).value

    def proved(self) -> ProbeTarget:
        """Return the target with proof of the process that listens now.

        Raises:
            CallError: nobody listens, or somebody who is not proved to be ours.
        """
        try:
            return replace(self, proof=listener.proved(self.run_dir, self.service, self.port))
        except listener.NotProvedError as error:
            raise CallError(str(error)) from None

    def call(self, request: Request, *, secret: bool = True) -> Call:
        """Make a call of a rightful client, or of one without the secret."""
        call = Call(port=self.port, path=request.path, method=request.method, body=request.body)
        return replace(call, headers=self._authorization(), secret=True, proof=self.proof) if secret else call

    def open_call(self) -> Call:
        """Make the call without the secret that must be refused."""
        if self.foreign:
            return self.initialize_call(secret=False)
        return self.call(self.driver.open_request if self.driver else BRIDGE_READY, secret=False)

    def live_call(self) -> Call:
        """Make the cheapest call that shows life: of a bridge, its refusal."""
        return self.call(self.driver.live_request) if self.driver else self.open_call()

    def initialize_call(self, *, secret: bool) -> Call:
        """Build the first call of an MCP client."""
        headers = {"accept": "application/json, text/event-stream"} | (bearer(self.secret) if secret else {})
        body = json.dumps(_INITIALIZE).encode()
        return Call(port=self.port, path="/mcp", method="POST", headers=headers, body=body, proof=self.proof)

    def _authorization(self) -> dict[str, str]:
        return dict(self.driver.authorization(self.secret)) if self.driver else bearer(self.secret)


def bearer(token: str) -> dict[str, str]:
    """Return the header that lets a client of a bridge in."""
    return {"authorization": f"Bearer {token}"}


class ProbeWire:
    """The calls of one probe, which have one deadline: what a driver asks its agent through.

    Args:
        target: who is asked.
        limit: seconds for all of them together.
    """

    def __init__(self, target: ProbeTarget, limit: float) -> None:
        self.target = target
        self._deadline = time.monotonic() + limit

    async def ask(self, request: Request, limit: float | None = None) -> Answer:
        """Send a request with the secret; see `send`."""
        return await self.send(self.target.call(request), limit)

    async def send(self, call: Call, limit: float | None = None) -> Answer:
        """Make one call and wait no longer than `limit` or `LIVENESS` seconds. Raises CallError."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CallError("no answer in time")
        return await ask(call, min(LIVENESS if limit is None else limit, left))

    @contextlib.asynccontextmanager
    async def stream(self, request: Request, limit: float) -> AsyncIterator[HttpStream]:
        """Open an endless answer; it stays empty where an agent refuses nobody. Raises CallError: no answer."""
        refused = await self.send(self.target.open_call(), limit)
        async with http1.stream(self.target.call(request, secret=refused.status == REFUSAL), limit) as opened:
            yield opened


async def prove(target: ProbeTarget, now: Now, quick: float = QUICK) -> Probe:
    """Try the whole proof once: it refuses without the secret and answers a real call with it.

    Args:
        target: who.
        now: the clock.
        quick: seconds for each cheap call of it; all of it takes no longer than `LOADING`.
    """
    probe = Probe(at=now.boot, at_wall=now.wall)
    try:
        target = target if target.proof else target.proved()
        steps = ProbeWire(target, LOADING)
        refused = await steps.send(target.open_call(), quick)
        if refused.status != HTTPStatus.UNAUTHORIZED:
            detail = f"cannot trust port {target.port}: it answers {refused.status} without the password"
            return replace(probe, health=Health.UNPROTECTED, detail=detail)
        return await _answers(steps, probe, quick)
    except CallError as error:
        return replace(probe, detail=str(error))


async def live(
    target: ProbeTarget,
    before: Probe,
    now: Now,
    *,
    written: int = 0,
    started: float = 0.0,
    ended: Sequence[EndedRun] = (),
) -> Probe:
    """Probe a proved listener once, counted on top of the last probe; takes at most twice `LIVENESS` seconds.

    Args:
        target: who, with the proof.
        before: the last one.
        now: the clock.
        written: when an agent wrote its journal last: how its work ended is asked only after it worked.
        started: wall clock time of its start.
        ended: the runs before it, where it is still to be asked what was interrupted.
    """
    steps, driver = ProbeWire(target, 2 * LIVENESS), target.driver
    ready = await _ask_ready(steps)
    if driver and ready and (broken := driver.broken_config(ready)):
        return replace(before, health=Health.CONFIG_INVALID, at=now.boot, at_wall=now.wall, misses=0, detail=broken)
    activity = driver.activity(ready) if driver else None
    if activity is None:
        try:
            answer = await steps.send(target.live_call())
        except CallError as error:
            return missed(before, now, str(error))
        if answer.status != (HTTPStatus.OK if driver else REFUSAL):
            return missed(before, now, f"it answers {answer.status}", answers=True)
    asked = await driver.needs(steps, activity) if driver and activity else ()
    cut = await driver.interrupted(steps, ended) if driver and before.interrupted != () else ()
    refused, idle = before.refused, activity == {} and written == before.written
    if written != before.written:
        found = await driver.refused(steps, started) if driver else ()
        refused, written = (refused, before.written) if found is None else (found, written)
    return Probe(
        health=Health.READY,
        at=now.boot,
        at_wall=now.wall,
        attention=needs.redacted(asked + refused, target.secret),
        working=None if activity is None else tuple(sorted(activity)),
        interrupted=cut,
        refused=refused,
        plugins=before.plugins,
        idle=idle,
        written=written,
    )


async def _ask_ready(steps: ProbeWire) -> Answer | None:
    """Ask an agent what it works at: one call that shows life and tells whether more is to be asked."""
    if (driver := steps.target.driver) is not None:
        with contextlib.suppress(CallError):
            return await steps.ask(driver.ready_request)
    return None


async def dispose(target: ProbeTarget) -> None:
    """Ask an agent to end what it started itself. Best effort: its tree is emptied anyway."""
    if target.driver is not None and (request := target.driver.shutdown_request) is not None:
        with contextlib.suppress(CallError):
            await ask(target.proved().call(request), LIVENESS)


async def _answers(steps: ProbeWire, probe: Probe, quick: float) -> Probe:
    """Make a real call with the secret."""
    target, driver = steps.target, steps.target.driver
    if target.foreign:
        answer = await steps.send(target.initialize_call(secret=True), LOADING)
    elif driver is None:
        answer = await steps.ask(BRIDGE_READY, quick)
    else:
        answer = await steps.ask(driver.ready_request, LOADING)  # it has answered once: it answers
    if answer.status == HTTPStatus.OK:
        if driver is not None and not _is_json(answer):
            return replace(probe, detail="it answers with a page, which no agent does")
        return replace(probe, health=Health.READY)
    if answer.status == REFUSAL:
        return replace(probe, health=Health.REFUSING, detail=_wrong(target))
    if driver is not None and (broken := driver.broken_config(answer)):
        return replace(probe, health=Health.CONFIG_INVALID, detail=broken)
    return replace(probe, detail=f"it answers {answer.status}")


def _is_json(answer: Answer) -> bool:
    try:
        return isinstance(answer.json(), dict | list)
    except ValueError:
        return False


def missed(before: Probe, now: Now, detail: str, *, answers: bool = False) -> Probe:
    """Count one more missed probe: it got no answer, or a wrong one."""
    misses = before.misses + 1
    health = Health.UNRESPONSIVE if misses >= MISSES else before.health
    return replace(before, health=health, at=now.boot, misses=misses, detail=detail, answers=answers)


def _wrong(target: ProbeTarget) -> str:
    return f"cannot trust port {target.port}: it does not accept the password from .env"
