"""Limits of a spec, applied to a start and to what runs, by real control groups; no agent is needed for that."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.core.actions import Done, Retry
from reconciler.core.observed import Service
from reconciler.core.reasons import Reason
from reconciler.engines.base import Events
from reconciler.engines.local.act import Actor
from reconciler.engines.local.limits import groups, limiting, means, probe
from reconciler.engines.local.limits.means import Means
from reconciler.engines.local.processes import processes
from reconciler.engines.local.services import Serving
from reconciler.state.ledger import Ledgers
from tests.support.bench import Bench, a_bench
from tests.support.fakecontroller import make_settings
from tests.unit.worlds import make_spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.engines.local.processes.processes import Launch

NAME = "app"
HOARD = "import time; hoard = b'x' * (64 << 20); open({ready!r}, 'w').close(); time.sleep(1000)"


class Applied:
    """A project whose agent is a Python program that holds 64 MiB, and the actor that acts on it."""

    def __init__(self, root: Path, bench: Bench) -> None:
        self.settings = make_settings(root)
        others: Any = SimpleNamespace()  # have nothing to do with limits
        serving = Serving(self.settings, Events(), others, others, others)
        self.actor = Actor(self.settings, Ledgers(self.settings.home), Events(), others, others, serving)
        self.bench = bench
        self.run = self.settings.home.sandbox(NAME).run
        self.run.mkdir(parents=True)

    def limited(self, service: Service, **limits: Any) -> Launch:
        """The launch of a service with these limits."""
        ready = self.bench.run / "ready"
        argv = (sys.executable, "-S", "-E", "-c", HOARD.format(ready=str(ready)))
        project: Any = SimpleNamespace(name=NAME, settings=self.settings, spec=make_spec(limits=limits))
        return limiting.limited(project, service, replace(self.bench.launch("hang"), argv=argv))

    def folders(self) -> list[Path]:
        """Where the project's groups are, if there are any."""
        name = groups.name_of(self.settings.home.root, NAME)
        return [Path(place.folder, name) for place in probe.find().groups.values()]


@pytest.fixture(name="applied")
async def _applied(tmp_path: Path) -> AsyncIterator[Applied]:
    found = probe.find()
    if found.manager or set(found.groups) != set(means.CONTROLLERS.values()):
        pytest.skip("control groups of our own are not what limits are enforced by here")
    async with a_bench(tmp_path) as bench:
        applied = Applied(tmp_path / "project", bench)
        try:
            yield applied
        finally:
            await processes.stop(applied.run, "agent", timeout=60.0)
            limiting.clear(applied.run, Service.AGENT)
    assert [folder for folder in applied.folders() if folder.exists()] == []


async def test_without_limits_a_launch_is_as_it_was(applied: Applied) -> None:
    """No group is made, and nobody is preferred."""
    launch = applied.limited(Service.AGENT)

    assert (launch.groups, launch.slice_name, launch.victim) == ({}, "", False)
    assert not any(folder.exists() for folder in applied.folders())


async def test_only_an_agent_with_limited_memory_is_ended_before_others(applied: Applied) -> None:
    """Its bridge is in the same project's group, and in one of its own below that."""
    agent, bridge = applied.limited(Service.AGENT, memory="1GiB"), applied.limited(Service.BRIDGE, memory="1GiB")
    other = applied.limited(Service.AGENT, tasks=9)

    assert (agent.victim, bridge.victim, other.victim) == (True, False, False)
    assert {Path(folder).parent for folder in agent.groups.values()} == set(applied.folders())
    assert {Path(folder).name for folder in bridge.groups.values()} == {"bridge"}
    groups.remove([*agent.groups.values(), *bridge.groups.values()])


async def test_less_memory_than_is_in_use_is_refused_with_what_to_do(applied: Applied) -> None:
    """By the older hierarchy, which ends nobody for that; what can be applied is."""
    launch = applied.limited(Service.AGENT, memory="1GiB")
    await processes.start(applied.run, "agent", launch)
    await applied.bench.until(applied.bench.run.joinpath("ready").exists)

    assert applied.actor._apply_limits(NAME, make_spec(limits={"memory": "512MiB"})) == Done()
    assert groups.memory_limit(launch.groups) == 512 << 20
    if groups.means(launch.groups)["memory"] is Means.CGROUP1:
        outcome = applied.actor._apply_limits(NAME, make_spec(limits={"memory": "8MiB"}))
        assert isinstance(outcome, Retry)
        assert outcome.reason is Reason.APPLY_LIMITS_FAILED
        assert "more memory is in use than that and cannot be freed" in outcome.message
        assert outcome.message.endswith("opencode-manager restart app")
        assert groups.memory_limit(launch.groups) == 512 << 20
