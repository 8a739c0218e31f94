"""Two engines in memory keep the contract: the controller's fake, and one that shares nothing with the local engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.controller.project import Desired, Project
from reconciler.controller.reconciler import Reconciler
from reconciler.core.observed import Probe, Service
from reconciler.engines.base import Events
from reconciler.settings import Home, Settings
from reconciler.state.ledger import Ledgers
from tests.engines.contract import NAME, Case, EngineContract
from tests.support import virtual_time
from tests.support.fake_engine import FakeEngine, FakeTombstones
from tests.support.memory_engine import Cluster, MemoryEngine
from tests.unit.worlds import make_spec

if TYPE_CHECKING:
    from pathlib import Path


class FakeCase(Case):
    """The fake engine; its machine outlives it."""

    fake: FakeEngine | None = None

    def open(self) -> FakeEngine:
        machines = self.fake.machines if self.fake else {}
        self.fake = FakeEngine(self.ledgers, lambda: 1000.0, self.heard)
        self.fake.machines = machines
        for service in Service if machines else ():
            self.fake.probe(NAME, service, Probe())
        return self.fake

    async def kill(self, service: Service) -> None:
        assert self.fake
        self.fake.exit(NAME, service, None)


class TestFakeEngine(EngineContract):
    """The controller's unit tests run on it."""

    @pytest.fixture(name="case")
    def _case(self, tmp_path: Path) -> FakeCase:
        return FakeCase(Ledgers(Home(tmp_path)), "git@example.org:team/app.git")


class MemoryCase(Case):
    """An engine that shares nothing with the local one."""

    cluster: Cluster
    memory: MemoryEngine

    def open(self) -> MemoryEngine:
        self.cluster = getattr(self, "cluster", Cluster())
        self.memory = MemoryEngine(self.cluster, self.heard)
        return self.memory

    async def kill(self, service: Service) -> None:
        self.memory.kill(NAME, service)


class TestMemoryEngine(EngineContract):
    """A cluster in memory."""

    @pytest.fixture(name="case")
    def _case(self, tmp_path: Path) -> MemoryCase:
        return MemoryCase(Ledgers(Home(tmp_path)), "git@example.org:team/app.git")


def test_a_controller_runs_a_project_on_an_engine_it_has_never_seen(tmp_path: Path) -> None:
    """The real reconciler, plan and status; what only the local engine has is shown as not there."""
    ledgers, events = Ledgers(Home(tmp_path)), Events()
    engine = MemoryEngine(Cluster(), events)
    settings = Settings(home=Home(tmp_path), specs=tmp_path)
    reconciler = Reconciler(engine, ledgers, FakeTombstones(), events, settings)
    project = Project(name=NAME, desired=Desired(spec=make_spec()))
    ledgers.accept(NAME, make_spec())
    virtual_time.run(reconciler.run(project))
    first = project.status
    engine.kill(NAME, Service.BRIDGE)
    virtual_time.run(reconciler.run(project))

    assert first is not None
    assert (first.ready.reason, first.actual, first.sandbox) == ("Running", "running", "namespace app")
    assert (first.agent.pid, first.agent.port, first.agent.url) == (None, None, "http://10.0.0.1")
    assert first.bridge.url == "http://10.0.0.2/mcp"
    assert project.status is not None
    assert (project.status.ready.status, project.status.bridge.restarts) == (True, 1)
