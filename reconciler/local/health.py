"""Whether a service is what it claims to be: looked at over HTTP, and proved.

Belongs here: the proof of readiness and the probe of liveness, for agents and bridges.
Does not belong here: what to do about the answer (`plan`).

Every request is on a new connection with a short limit: OpenCode accepts connections before its request handler is
attached, and what arrives in that gap is never answered (measured: up to 4 s with 8 starting at once).
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import httpx

from reconciler.facts import Attention, Health, Probe
from reconciler.local import attention

if TYPE_CHECKING:
    from reconciler.agents import AgentKind
    from reconciler.facts import Now

QUICK: Final = 0.5
"""Seconds for one attempt while a service starts."""
LIVENESS: Final = 3.0
"""Seconds for one liveness probe."""
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
    kind: AgentKind | None = None
    """None: a bridge."""
    foreign: bool = False
    """A bridge that is the user's own tool: it has no `/ready`, so it is asked in MCP itself."""

    @property
    def base(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def authorization(self) -> dict[str, str]:
        """The header that a rightful client sends."""
        if self.kind is None:
            return {"authorization": f"Bearer {self.secret}"}
        pair = f"{self.kind.user}:{self.secret}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}


class Prober:
    """Asks services how they are."""

    def __init__(self) -> None:
        # Loopback needs no certificates and no proxies: leaving them out makes the client 18 ms cheaper to build.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=False, limits=limits))

    async def close(self) -> None:
        """Let go of the client."""
        await self._client.aclose()

    async def prove(self, target: Target, now: Now) -> Probe:
        """One attempt at the whole proof: it refuses without the secret and answers a real call with it."""
        probe = Probe(at=now.boot, at_wall=now.wall)
        try:
            refused = await self._open(target)
            if refused.status_code != httpx.codes.UNAUTHORIZED:
                detail = f"cannot trust port {target.port}: it answers {refused.status_code} without the password"
                return replace(probe, health=Health.UNPROTECTED, detail=detail)
            return await self._answers(target, probe)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return replace(probe, detail=_say(error))

    async def live(self, target: Target, before: Probe, now: Now) -> Probe:
        """One liveness probe of a proved listener, counted on top of the last one."""
        try:
            answer = await self._call_live(target)
            detail = f"it answers {answer.status_code}"
            alive = answer.status_code == (httpx.codes.OK if target.kind else httpx.codes.UNAUTHORIZED)
        except httpx.HTTPError as error:
            alive, detail = False, _say(error)
        if alive:
            asked = await self._attention(target)
            cut = () if before.interrupted == () else await self._interrupted(target)
            return Probe(health=Health.READY, at=now.boot, at_wall=now.wall, attention=asked, interrupted=cut)
        return missed(before, now, detail)

    async def _attention(self, target: Target) -> tuple[Attention, ...]:
        """What within the agent waits for a person. Nothing where it cannot be told."""
        if target.kind is None:
            return ()
        kind, headers = target.kind, target.authorization()
        try:
            paths = (kind.permission_path, kind.question_path, kind.ready_path)
            answers = [await self._ask("GET", target.base + path, LIVENESS, headers=headers) for path in paths]
            permissions, questions, sessions = (answer.json() for answer in answers)
            return tuple(attention.of(permissions, questions, sessions))
        except (httpx.HTTPError, ValueError, TypeError, KeyError, AttributeError):
            return ()

    async def _interrupted(self, target: Target) -> tuple[str, ...]:
        """The recent sessions whose last answer broke off, and that do not work at it now."""
        if target.kind is None:
            return ()
        kind, headers = target.kind, target.authorization()
        try:
            busy = await self._ask("GET", target.base + kind.ready_path, LIVENESS, headers=headers)
            url = f"{target.base}{kind.sessions_path}"
            listed = await self._ask("GET", f"{url}?limit={RECENT}", LIVENESS, headers=headers)
            found = []
            for name in attention.at_rest(listed.json(), busy.json()):
                newest = await self._ask("GET", f"{url}/{name}/message?limit=1", LIVENESS, headers=headers)
                if attention.broke_off(newest.json()):
                    found.append(name)
            return tuple(found)
        except (httpx.HTTPError, ValueError, TypeError, KeyError, AttributeError):
            return ()

    async def dispose(self, target: Target) -> None:
        """Ask an agent to end what it started itself. Best effort: its tree is emptied anyway."""
        if target.kind is None:
            return
        try:
            url = target.base + target.kind.dispose_path
            await self._ask("POST", url, LIVENESS, headers=target.authorization())
        except httpx.HTTPError:
            return

    async def _ask(self, method: str, url: str, limit: float, **options: Any) -> httpx.Response:  # noqa: ANN401
        """One request, over within this many seconds: the client's own limit is for each piece it reads."""
        try:
            async with asyncio.timeout(limit):
                return await self._client.request(method, url, timeout=limit, **options)
        except TimeoutError:
            raise httpx.ReadTimeout("the answer did not end in time") from None

    async def _open(self, target: Target, limit: float = QUICK) -> httpx.Response:
        """A call without the secret."""
        if target.foreign:
            return await self._ask("POST", f"{target.base}/mcp", limit, json=_INITIALIZE)
        path = target.kind.live_path if target.kind else BRIDGE_READY
        return await self._ask("GET", target.base + path, limit)

    async def _call_live(self, target: Target) -> httpx.Response:
        """The cheapest call that shows life: of a bridge, its refusal."""
        if target.kind is None:
            return await self._open(target, LIVENESS)
        headers = target.authorization()
        return await self._ask("GET", target.base + target.kind.live_path, LIVENESS, headers=headers)

    async def _answers(self, target: Target, probe: Probe) -> Probe:
        """A real call with the secret."""
        headers = target.authorization()
        if target.foreign:
            headers |= {"accept": "application/json, text/event-stream"}
            answer = await self._ask("POST", f"{target.base}/mcp", LOADING, json=_INITIALIZE, headers=headers)
        elif target.kind is None:
            answer = await self._ask("GET", target.base + BRIDGE_READY, QUICK, headers=headers)
        else:
            live = await self._ask("GET", target.base + target.kind.live_path, QUICK, headers=headers)
            if live.status_code == httpx.codes.UNAUTHORIZED:
                return replace(probe, health=Health.REFUSING, detail=_wrong(target))
            answer = await self._ask("GET", target.base + target.kind.ready_path, LOADING, headers=headers)
        if answer.status_code == httpx.codes.OK:
            if target.kind is not None and not _is_json(answer):
                return replace(probe, detail="it answers with a page, which no agent does")
            return replace(probe, health=Health.READY)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return replace(probe, health=Health.REFUSING, detail=_wrong(target))
        if answer.status_code == httpx.codes.BAD_REQUEST and "Config" in answer.text[:200]:
            detail = f"cannot load the agent's configuration: {answer.text[:500]}"
            return replace(probe, health=Health.CONFIG_INVALID, detail=detail)
        return replace(probe, detail=f"it answers {answer.status_code}")


def _is_json(answer: httpx.Response) -> bool:
    try:
        return isinstance(answer.json(), dict | list)
    except ValueError:
        return False


def missed(before: Probe, now: Now, detail: str) -> Probe:
    """One more probe that was missed."""
    misses = before.misses + 1
    health = Health.UNRESPONSIVE if misses >= MISSES else before.health
    return replace(before, health=health, at=now.boot, misses=misses, detail=detail)


def _wrong(target: Target) -> str:
    return f"cannot trust port {target.port}: it does not accept the password from .env"


def _say(error: Exception) -> str:
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__
