"""One project in a real local engine: real keepers, a real bridge, and nothing of the controller."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import settings as settings_module
from reconciler.core import actions
from reconciler.core import spec as specs
from reconciler.core.actions import Done
from reconciler.core.observed import Service
from reconciler.engines.base import Events
from reconciler.engines.local import actions as local_actions
from reconciler.engines.local.engine import LocalEngine
from reconciler.engines.local.secrets.env_file import read_env
from reconciler.state.ledger import Ledgers
from reconciler.system import files
from tests.support.bridge import Bridge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mcp import Client

    from reconciler.core.observed import ObservedProject, Probe
    from reconciler.core.spec import Spec
    from reconciler.settings import Sandbox, Settings

ROOT = Path(__file__).parents[2]
NAME = "app"
PATIENCE = 60.0
"""Seconds, on a loaded machine."""


class News(Events):
    """Wakes who waits for what an engine has to say."""

    def __init__(self) -> None:
        super().__init__()
        self._event = asyncio.Event()

    def happened(self, name: str) -> None:  # noqa: ARG002  there is one
        self._event.set()

    def probed(self, name: str, service: Service, probe: Probe) -> None:  # noqa: ARG002
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()


@dataclass
class LocalProject:
    """A project and the engine that runs it."""

    engine: LocalEngine
    settings: Settings
    ledgers: Ledgers
    spec: Spec
    news: News

    @property
    def sandbox(self) -> Sandbox:
        return self.settings.home.sandbox(NAME)

    async def observe(self) -> ObservedProject:
        ledger = self.ledgers.get(NAME)
        assert ledger is not None
        return await self.engine.observe(NAME, self.spec, ledger)

    async def perform(self, action: actions.Action) -> None:
        outcome = await self.engine.perform(NAME, self.spec, action)
        assert isinstance(outcome, Done), outcome

    async def start(self, service: Service) -> None:
        await self.perform(local_actions.ReservePort(cause="test", service=service))
        await self.perform(actions.StartService(cause="test", service=service))

    async def stop(self, service: Service) -> None:
        if (await self.observe()).service(service).alive:
            await self.perform(actions.StopService(cause="test", service=service))

    async def until(self, wanted: Callable[[ObservedProject], bool]) -> ObservedProject:
        """Observe whenever the engine has news, until it is as wanted."""
        async with asyncio.timeout(PATIENCE):
            while not wanted(facts := await self.observe()):
                await self.news.wait()
        return facts

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """An MCP client of the project's bridge."""
        ledger = self.ledgers.get(NAME)
        assert ledger is not None
        bridge = Bridge("", self.sandbox.repo, self.sandbox.path / "unused.log", ledger.ports["bridge"])
        async with bridge.client(token=read_env(self.sandbox.env_file).bearer_token) as client:
            yield client


@contextlib.asynccontextmanager
async def a_project(
    folder: Path, ports: tuple[range, range], origin: Path, environment: dict[str, str], **agent: Any
) -> AsyncIterator[LocalProject]:
    """A project with a clone and secrets; both services are stopped in the end."""
    agents, bridges = ports
    variables = {
        **environment,
        "OPENCODE_MANAGER_HOME": str(folder / "home"),
        "OPENCODE_MANAGER_AGENT_PORTS": f"{agents[0]}-{agents[-1]}",
        "OPENCODE_MANAGER_BRIDGE_PORTS": f"{bridges[0]}-{bridges[-1]}",
        "ENVIRONMENT": "development",
    }
    settings = settings_module.load(environment=variables)
    files.private_folder(settings.home.root).joinpath("opencode-settings.yaml").write_text(
        json.dumps({"confinement": {"read": [str(ROOT), sys.prefix, sys.base_prefix]}})  # they may lie below /tmp
    )
    ledgers, news = Ledgers(settings.home), News()
    spec = specs.parse({"git": {"url": str(origin)}, "agent": agent})
    project = LocalProject(LocalEngine(settings, ledgers, news), settings, ledgers, spec, news)
    ledgers.accept(NAME, spec)
    try:
        for action in (local_actions.PrepareSandbox, local_actions.WriteSecrets, local_actions.CloneRepo):
            await project.perform(action(cause="test"))
        yield project
    finally:
        for service in Service:
            await project.stop(service)
        await project.engine.close()
