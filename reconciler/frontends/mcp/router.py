"""The agents of all projects behind one address: from a project's name to its agent.

Nothing is remembered that could be out of date: the engine is asked how the agent is spoken to when a call comes in, so
a restarted agent, a new port or a new password are right at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp.server.mcpserver.exceptions import ToolError

from reconciler import agents
from reconciler.api import engine_access, reader
from reconciler.api.results import START_CONTROLLER
from reconciler.bridge.connect import connection
from reconciler.core import env_keys, kinds
from reconciler.core.observed import Service
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from reconciler.agents.base import Access, Client
    from reconciler.api.engine_access import Connection
    from reconciler.settings import Settings
    from reconciler.state.published import Index

KEPT: Final = 60.0
"""Seconds after its last call for which a client is kept: it holds the agent's password, which may be rotated."""


@dataclass(frozen=True)
class _Known:
    """An agent and what its client was made from."""

    access: Access
    way: Connection
    agent: Client


class Router:
    """Finds the agent of a project, and keeps one client for each. Use it within `open`."""

    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._stopping = stopping
        self._known: dict[str, _Known] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """When each of them is forgotten."""

    @contextlib.asynccontextmanager
    async def open(self, _server: object) -> AsyncIterator[None]:
        """Keep clients for the life of the server; `_server` is what the MCP library passes to a lifespan."""
        try:
            yield
        finally:
            for timer in self._timers.values():
                timer.cancel()
            for known in self._known.values():
                await known.agent.close()
            self._timers.clear()
            self._known.clear()

    async def resolve(self, project: str) -> Client:
        """Return a client of a project's agent that can be called.

        Raises:
            ToolError: there is no such project, or it is not ready; says why and what to do.
        """
        # No await in here: two calls at once make one client.
        try:
            index = published.read(self._settings.home)
            access, way = self._way(index, project)
        except UserError as error:
            raise ToolError(str(error)) from None
        known = self._known.get(project)
        if known is None or (known.access, known.way) != (access, way):
            # The old one is dropped, not closed: it keeps no connections, and a call that still waits with it must
            # fail because its agent is gone, not because its client is.
            agent = agents.toolset(access).connect(connection(project, access, way, self._stopping))
            known = self._known[project] = _Known(access, way, agent)
        for gone in self._known.keys() - index.projects.keys():
            self._forget(gone)
        if timer := self._timers.pop(project, None):
            timer.cancel()
        self._timers[project] = asyncio.get_running_loop().call_later(KEPT, self._forget, project)
        return known.agent

    def _forget(self, project: str) -> None:
        """Forget a client; calls that still wait with it go on."""
        self._known.pop(project, None)
        if timer := self._timers.pop(project, None):
            timer.cancel()

    def _way(self, index: Index, project: str) -> tuple[Access, Connection]:
        status = self._status(index, project)
        if why := _unready(status, running=index.running):
            raise UserError(f"cannot reach {project}: {why}")
        way = engine_access.connect(self._settings, project, Service.AGENT)
        if way is None:
            raise UserError(
                f"cannot reach {project}: its agent does not listen now; try again shortly, opencode_status tells more"
            )
        if not way.secret:
            place = engine_access.secrets(self._settings, project).place
            raise UserError(
                f"cannot reach {project}: {place} has no {env_keys.PASSWORD} that can be read; "
                f"set it with: opencode-manager secrets {project}"
            )
        return _access(status), way

    def _status(self, index: Index, project: str) -> Mapping[str, Any]:
        if project in index.projects:
            return index.projects[project]
        if reader.has_spec(reader.specs_folder(index, self._settings), project):
            raise UserError(f"cannot reach {project}: the controller has not looked at its spec yet; try again shortly")
        raise UserError(reader.unknown(index, self._settings, project, "reach"))


def _access(status: Mapping[str, Any]) -> Access:
    """Return how a project's kind of agent is reached; what older versions published names none."""
    return agents.access_to(kinds.DRIVERS[status.get("kind") or kinds.DEFAULT].package)


def _unready(status: Mapping[str, Any], *, running: bool) -> str:
    """Say why a project cannot be reached and what to do; empty when it can."""
    agent, stalled = status["agent"], status["stalled"]
    if not running:
        # Without a controller nobody keeps the index up to date: what it says may be long over.
        return f"no controller is running; {START_CONTROLLER}"
    if agent["state"] == "running":
        return ""
    if stalled["status"]:
        return f"{stalled['message'] or stalled['reason']}; opencode_status tells more"
    if status["desired"] != "running":
        return f"its spec wants it {status['desired']}; opencode_start starts it"
    doing = ": ".join(filter(None, (status["reason"], status["message"])))
    return f"its agent is {agent['state']} ({doing}); try again shortly, opencode_status tells more"
