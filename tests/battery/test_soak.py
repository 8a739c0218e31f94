"""A soak: many light projects under random faults of all kinds, with the invariants looked at every second.

Belongs here: the one long mixture. Each fault by itself is tried by the rest of the battery.
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

from reconciler import published
from tests.support.world import World, a_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.scoreboard import Score

PROJECTS = 50
PAUSE = 0.25
"""Seconds between two faults."""
PATIENCE = 240.0
SEED = 20261123


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
        self.dice = random.Random(SEED)  # noqa: S311  the same faults each time
        self.names = [f"p{number:02}" for number in range(PROJECTS)]
        self.counts: Counter[str] = Counter()
        self.ports: dict[str, int] = {}
        self.faults: list[Callable[[str], None]] = [
            self.kill_agent,
            self.kill_agent,
            self.kill_bridge,
            self.kill_keeper,
            self.stop_and_continue,
            self.wish,
            self.wish,
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
        self.dice.choice(self.faults)(self.dice.choice(self.names))
        self.score.tried()

    # -- faults ----------------------------------------------------------------------------------------------------

    def pid(self, name: str, service: str) -> int | None:
        status = self.world.status(name)
        return status[service]["pid"] if status else None

    def signal(self, pid: int | None, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if pid is not None and str(self.world.home.root) in " ".join(psutil.Process(pid).environ().values()):
                os.kill(pid, number)

    def kill_agent(self, name: str) -> None:
        with contextlib.suppress(psutil.Error):
            self.signal(self.pid(name, "agent"), signal.SIGKILL)

    def kill_bridge(self, name: str) -> None:
        with contextlib.suppress(psutil.Error):
            self.signal(self.pid(name, "bridge"), signal.SIGKILL)

    def kill_keeper(self, name: str) -> None:
        run = str(self.world.home.sandbox(name).run)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if run in process.cmdline() and "agent" in process.cmdline():
                    process.kill()
                    return

    def stop_and_continue(self, name: str) -> None:
        with contextlib.suppress(psutil.Error):
            pid = self.pid(name, "agent")
            self.signal(pid, signal.SIGSTOP)
            self.signal(pid, signal.SIGCONT)

    def wish(self, name: str) -> None:
        self.world.light(name, state=self.dice.choice(["running", "stopped", "running"]))

    def delete_log(self, name: str) -> None:
        self.world.home.log_file(name, "agent").unlink(missing_ok=True)

    def delete_state(self, _name: str) -> None:
        self.world.home.state_file.unlink(missing_ok=True)

    def kill_controller(self, _name: str) -> None:
        self.world.kill()
        self.world.start()

    # -- invariants ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """At most one run of a service lives; counters and ports only ever stay or, the former, grow."""
        alive: dict[tuple[str, str], set[str]] = {}
        for pid, line in self.world.lines().items():
            service = "agent" if "lightagent.py" in line else "bridge" if "index-http.js" in line else ""
            with contextlib.suppress(psutil.Error):
                marker = psutil.Process(pid).environ().get("OCM_SANDBOX", "")
                if service and marker:
                    name, _, run = marker.partition(":")
                    alive.setdefault((name, service), set()).add(run)
        for (name, service), runs in alive.items():
            self.score.expect(len(runs) == 1, f"{name}: {len(runs)} runs of its {service} live")
        for name, project in published.read(self.world.home).projects.items():
            count, port = project["agent"]["restarts"], project["agent"]["port"]
            self.score.expect(count >= self.counts[name], f"{name}: its restart count fell to {count}")
            self.counts[name] = max(count, self.counts[name])
            if port is not None:
                self.score.expect(self.ports.setdefault(name, port) == port, f"{name}: its port changed to {port}")


@pytest.mark.xdist_group("soak")
def test_a_soak(crowd: World, score: Score) -> None:
    """Soak: 50 projects under random faults, looked at every second."""
    soak = Soak(crowd, score)
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
    for name in soak.names:
        crowd.light(name)
    soak.settle("running")
    soak.look()
    for name in soak.names:
        crowd.light(name, state="stopped")
    soak.settle("stopped")
    score.expect(crowd.processes() == [], f"left after a stop: {crowd.lines()}")
