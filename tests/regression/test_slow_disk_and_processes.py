"""A slow disk or a machine with thousands of processes holds up nobody: what may take long runs beside the loop."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from reconciler.core import spec as specs
from reconciler.core.actions import Done
from reconciler.core.observed import Health, Phase, Probe
from reconciler.engines.base import Events
from reconciler.engines.local.act import Actor
from reconciler.engines.local.actions import WriteSecrets
from reconciler.engines.local.facts import LocalService
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import cpu_activity, processes
from reconciler.state.ledger import Ledgers
from reconciler.system import files
from tests.support.fakecontroller import make_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


class Seen:
    """In which threads something was done."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def on(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Let it be noted, and done."""

        def noted(*arguments: Any, **options: Any) -> Any:
            self.threads.append(threading.current_thread())
            return function(*arguments, **options)

        return noted

    @property
    def beside_the_loop(self) -> bool:
        return bool(self.threads) and threading.main_thread() not in self.threads


async def test_secrets_are_written_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They must survive a power cut, for which a slow disk takes seconds."""
    seen, settings = Seen(), make_settings(tmp_path)
    others: Any = SimpleNamespace()  # have nothing to do with it
    observer: Any = SimpleNamespace(git=lambda *_: SimpleNamespace(needs_key=False))
    spec = specs.parse({"git": {"url": "/srv/x"}})
    files.private_folder(settings.home.sandbox("app").run)
    monkeypatch.setattr(os, "fsync", seen.on(os.fsync))
    actor = Actor(settings, Ledgers(settings.home), Events(), observer, others, others)

    assert await actor.perform("app", spec, WriteSecrets(cause="there are none")) == Done()
    assert seen.beside_the_loop


async def test_a_keeper_without_a_record_is_looked_for_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among all processes."""
    seen = Seen()
    monkeypatch.setattr(identity, "holds_lock", seen.on(identity.holds_lock))

    assert await processes.stop(tmp_path, "agent", timeout=60.0)
    assert seen.beside_the_loop


async def test_what_a_silent_service_works_at_is_looked_at_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes are found among all."""
    seen = Seen()
    monkeypatch.setattr(cpu_activity, "processor_time", seen.on(cpu_activity.processor_time))
    facts = LocalService(phase=Phase.RUNNING, instance="r1", pid=os.getpid())
    await cpu_activity.Quiet().judge(facts, Probe(health=Health.UNRESPONSIVE, misses=1))

    assert seen.beside_the_loop


def test_what_is_written_while_others_are_synced_is_synced_next(tmp_path: Path) -> None:
    """The thread that syncs has its own list: nobody changes it."""
    settings = make_settings(tmp_path)
    ledgers, spec = Ledgers(settings.home), specs.parse({"git": {"url": "/srv/x"}})
    handed = []
    for name in ("a", "b"):
        files.private_folder(settings.home.sandbox(name).run)
        ledgers.accept(name, spec)
        ledgers.flush(name)
        handed.append(ledgers.take_unsynced())

    assert handed == [[settings.home.sandbox(name).ledger] for name in ("a", "b")]
