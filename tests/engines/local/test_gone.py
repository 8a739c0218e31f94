"""Of a project that is gone, the engine keeps nothing by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.core.observed import Health, Probe, Service
from reconciler.engines.base import Events, ProjectGone
from reconciler.engines.local.engine import LocalEngine
from reconciler.state.ledger import Ledgers
from tests.support.fakecontroller import make_settings

if TYPE_CHECKING:
    from pathlib import Path


async def test_nothing_is_kept_by_the_name_of_a_project_that_is_gone(tmp_path: Path) -> None:
    settings, events = make_settings(tmp_path), Events()
    engine = LocalEngine(settings, Ledgers(settings.home), events, dry=True)
    for name in ("app", "blog"):
        engine.fingerprint(name)
        engine._prober.remember(name, Service.AGENT, "run-1", Probe(health=Health.READY))

    events.publish(ProjectGone("app"))

    assert set(engine._edited) == {"blog"}
    assert set(settings.home._sandboxes) == {"blog"}
    assert engine._prober.last("app", Service.AGENT, "run-1") == Probe()
    assert engine._prober.last("blog", Service.AGENT, "run-1").health is Health.READY
    await engine.close()
