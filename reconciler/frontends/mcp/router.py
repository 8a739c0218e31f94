"""The agents of all projects behind one address: from a project's name to its agent.

Nothing is remembered that could be out of date: the port comes from the published index and the secrets from the
sandbox's `.env` when a call comes in, so a restarted agent, a new port or a new password are right at once. They are
read here, not in `engines`, which frontends must not import: reading two values is no acting, and the engine checked
the `.env` before the agent ran.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dotenv import dotenv_values
from mcp.server.mcpserver.exceptions import ToolError

from reconciler import agents
from reconciler.api import reader
from reconciler.api.results import START_CONTROLLER
from reconciler.bridge.config import Config
from reconciler.bridge.connect import connection
from reconciler.core import env_keys, kinds
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from reconciler.agents.base import Access, Client
    from reconciler.settings import Sandbox, Settings
    from reconciler.state.published import Index

_ENV_BYTES: Final = 65536
"""What the manager itself accepts of a `.env`."""


KEPT: Final = 60.0
"""Seconds after its last call for which a client is kept: it holds the agent's password, which may be rotated."""


@dataclass(frozen=True)
class _Known:
    """An agent and what its client was made from."""

    config: Config
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
            config = self._config(index, project)
        except UserError as error:
            raise ToolError(str(error)) from None
        known = self._known.get(project)
        if known is None or known.config != config:
            # The old one is dropped, not closed: it keeps no connections, and a call that still waits with it must
            # fail because its agent is gone, not because its client is.
            known = self._known[project] = _Known(config, self._agent(config))
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

    def _agent(self, config: Config) -> Client:
        return agents.toolset(config.access).connect(connection(config, self._stopping))

    def _config(self, index: Index, project: str) -> Config:
        status = self._status(index, project)
        if why := _unready(status, running=index.running):
            raise UserError(f"cannot reach {project}: {why}")
        sandbox = self._settings.home.sandbox(project)
        password, token = _secrets(project, sandbox)
        return Config(
            project=project,
            repo=sandbox.repo,
            run_dir=sandbox.run,
            port=status["bridge"]["port"] or 0,
            agent_host="127.0.0.1",
            agent_port=status["agent"]["port"],
            access=_access(status),
            token=token,
            password=password,
        )

    def _status(self, index: Index, project: str) -> Mapping[str, Any]:
        if project in index.projects:
            return index.projects[project]
        if reader.has_spec(reader.specs_folder(index, self._settings), project):
            raise UserError(f"cannot reach {project}: the controller has not looked at its spec yet; try again shortly")
        raise UserError(reader.unknown(index, self._settings, project, "reach"))


def _access(status: Mapping[str, Any]) -> Access:
    """Return how a project's kind of agent is reached; what older versions published names none."""
    return agents.access_to(kinds.DRIVERS[status.get("kind") or kinds.DEFAULT])


def _unready(status: Mapping[str, Any], *, running: bool) -> str:
    """Say why a project cannot be reached and what to do; empty when it can."""
    agent, stalled = status["agent"], status["stalled"]
    if not running:
        # Without a controller nobody keeps the index up to date: what it says may be long over.
        return f"no controller is running; {START_CONTROLLER}"
    if agent["state"] == "running" and agent["port"]:
        return ""
    if stalled["status"]:
        return f"{stalled['message'] or stalled['reason']}; opencode_status tells more"
    if status["desired"] != "running":
        return f"its spec wants it {status['desired']}; opencode_start starts it"
    doing = ": ".join(filter(None, (status["reason"], status["message"])))
    return f"its agent is {agent['state']} ({doing}); try again shortly, opencode_status tells more"


def _secrets(project: str, sandbox: Sandbox) -> tuple[str, str]:
    """Return the agent's password and the bridge's token.

    Raises:
        UserError: the `.env` cannot be read, or has no password.
    """
    try:
        # Neither following a link nor waiting for somebody to write into a pipe.
        handle = os.open(sandbox.env_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            data = file.read(_ENV_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        # A `$` means nothing in a secret.
        values = dotenv_values(stream=io.StringIO(data.decode("utf-8-sig"), newline=""), interpolate=False)
    except (OSError, UnicodeDecodeError):
        values = {}
    password = values.get(env_keys.PASSWORD)
    if not password:
        raise UserError(
            f"cannot reach {project}: {sandbox.env_file} has no {env_keys.PASSWORD} that can be read; "
            f"set it with: opencode-manager secrets {project}"
        )
    return password, values.get(env_keys.TOKEN) or ""
