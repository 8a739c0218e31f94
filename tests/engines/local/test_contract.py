"""The local engine keeps the contract, with real keepers, a real clone and the light agent."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from reconciler import settings
from reconciler.engines import registry
from reconciler.engines.local.facts import process
from reconciler.state.ledger import Ledgers
from tests.engines.contract import NAME, Case, EngineContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.core.observed import Service
    from reconciler.engines.base import Engine
    from tests.support.world import World


class LocalCase(Case):
    """One home on this machine."""

    def __init__(self, world: World) -> None:
        self.settings = settings.load(environment=world.environment)
        super().__init__(Ledgers(self.settings.home), str(world.origin))

    def open(self) -> Engine:
        return registry.create(self.settings, self.ledgers, self.heard)

    async def kill(self, service: Service) -> None:
        pid = process((await self.view(self.spec())).facts.service(service)).pid
        assert pid
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(name="case")
async def _case(world: World) -> AsyncIterator[LocalCase]:
    world.light(NAME)
    case = LocalCase(world)
    try:
        yield case
    finally:
        await case.engine.close()


class TestLocalEngine(EngineContract):
    """On real processes."""
