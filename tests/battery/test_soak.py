"""A soak: many light projects under random faults of all kinds, with the invariants looked at every second.

Each fault by itself is tried by the rest of the battery.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.state import published
from tests.support.battery import SERVICES, Witness
from tests.support.world import World, a_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.scoreboard import Score

PROJECTS = 50
PAUSE = 0.25
"""Seconds between two faults."""
PATIENCE = 240.0
FROZEN = 4
"""Faults for the time of which a service that was stopped by a signal stays so."""
SEED_VARIABLE = "OCM_SOAK_SEED"
"""Set to what an earlier run printed, it deals the same faults."""


@pytest.fixture(name="crowd")
def _crowd(tmp_path: Path, ports: tuple[range, range]) -> Iterator[World]:
    with a_world(tmp_path, ports) as world:
        first = 20000 + 100 * (ports[0][0] - 4100)
        world.environment["OPENCODE_MANAGER_AGENT_PORTS"] = f"{first}-{first + 2 * PROJECTS}"
        world.environment["OPENCODE_MANAGER_BRIDGE_PORTS"] = f"{first + 500}-{first + 500 + 2 * PROJECTS}"
        yield world


class Soak:
    """The crowd, what is wanted of it, and the dice."""

    def __init__(self, world: World, score: Score) -> None:
        self.world = world
        self.score = score
        self.witness = Witness(world)
        self.seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))
        self.dice = random.Random(self.seed)  # noqa: S311  the same faults for the same seed
        self.names = [f"p{number:02}" for number in range(PROJECTS)]
        self.counts: Counter[tuple[str, str]] = Counter()
        self.ports: dict[tuple[str, str], int] = {}
        self.frozen: list[int] = []
        self.faults: list[Callable[[str, str], None]] = [
            self.kill_service,
            self.kill_service,
            self.kill_service,
            self.kill_keeper,
            self.freeze,
            self.request,
            self.request,
            self.delete_log,
            self.delete_state,
            self.kill_controller,
        ]

    def begin(self) -> None:
        for name in self.names:
            self.world.light(name)
        self.world.start()
        self.settle("running")

    def settle(self, wanted: str) -> None:
        """Wait until everything is as wanted."""

        def calm() -> bool:
            projects = published.read(self.world.home).projects.values()
            as_wanted = [project["desired"] == wanted and project["ready"]["status"] for project in projects]
            return len(as_wanted) == PROJECTS and all(as_wanted)

        self.world.until(calm, f"everything {wanted}", PATIENCE)

    def one_fault(self) -> None:
        if len(self.frozen) >= FROZEN or (self.frozen and self.dice.random() < 1 / FROZEN):
            self.thaw()
        self.dice.choice(self.faults)(self.dice.choice(self.names), self.dice.choice(SERVICES))
        self.score.tried()

    # -- faults ----------------------------------------------------------------------------------------------------

    def signal(self, pid: int | None, number: int) -> bool:
        """Send a signal to somebody of this world."""
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if pid is not None and str(self.world.home.root) in " ".join(psutil.Process(pid).environ().values()):
                os.kill(pid, number)
                return True
        return False

    def pid(self, name: str, service: str) -> int | None:
        """As it is published."""
        found: int | None = self.world.status(name).get(service, {}).get("pid")
        return found

    def kill_service(self, name: str, service: str) -> None:
        self.signal(self.pid(name, service), signal.SIGKILL)

    def kill_keeper(self, name: str, service: str) -> None:
        run = str(self.world.home.sandbox(name).run)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if run in process.cmdline() and service in process.cmdline():
                    process.kill()
                    return

    def freeze(self, name: str, service: str) -> None:
        """Stop it until some other faults have happened."""
        pid = self.pid(name, service)
        if pid is not None and self.signal(pid, signal.SIGSTOP):
            self.frozen.append(pid)

    def thaw(self) -> None:
        """Let the first of them go on."""
        self.signal(self.frozen.pop(0), signal.SIGCONT)

    def request(self, name: str, _service: str) -> None:
        self.world.light(name, state=self.dice.choice(["running", "stopped", "running"]))

    def delete_log(self, name: str, service: str) -> None:
        self.world.home.log_file(name, service).unlink(missing_ok=True)

    def delete_state(self, _name: str, _service: str) -> None:
        self.world.home.state_file.unlink(missing_ok=True)

    def kill_controller(self, _name: str, _service: str) -> None:
        self.world.kill()
        self.world.start()

    # -- invariants ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Everything a witness knows; and what is published of counters and ports never says that one was lost."""
        self.score.violations += [f"{seen} (seed {self.seed})" for seen in self.witness.look()]
        for name, project in published.read(self.world.home).projects.items():
            for service in SERVICES:
                key, count, port = (name, service), project[service]["restarts"], project[service]["port"]
                self.score.expect(count >= self.counts[key], f"{key}: its restart count fell to {count}")
                self.counts[key] = max(count, self.counts[key])
                if port is not None:
                    self.score.expect(self.ports.setdefault(key, port) == port, f"{key}: its port changed to {port}")


@pytest.mark.long
@pytest.mark.xdist_group("waits")
def test_a_soak(crowd: World, score: Score) -> None:
    """Soak: 50 projects under random faults, looked at every second."""
    soak = Soak(crowd, score)
    print(f"{SEED_VARIABLE}={soak.seed}")  # noqa: T201  for who wants the same faults again
    soak.begin()
    tick = threading.Event()  # never set: the pause between two faults
    end = time.monotonic() + (3600 if score.full else 60)
    looked = 0.0
    while time.monotonic() < end:
        soak.one_fault()
        if time.monotonic() - looked >= 1:
            soak.look()
            looked = time.monotonic()
        tick.wait(PAUSE)
    soak.look()
    while soak.frozen:
        soak.thaw()
    for name in soak.names:
        crowd.light(name)
    soak.settle("running")
    soak.look()
    for name in soak.names:
        crowd.light(name, state="stopped")
    soak.settle("stopped")
    score.expect(crowd.processes() == [], f"left after a stop: {crowd.lines()}")
