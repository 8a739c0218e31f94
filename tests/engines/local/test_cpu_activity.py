"""How busy a service is, from the processor time of its tree: real processes, and what is made of the numbers."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import Health, Probe
from reconciler.engines.local.processes import cpu_activity, processes
from tests.support.bench import SERVICE, Bench, a_bench, children
from tests.unit.worlds import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WORK = 0.3
"""Seconds of processor time that a child uses before it ends."""
BUSY_CHILD = f"""
import os, sys, time
def work():
    while time.process_time() < {WORK}: pass
if os.fork() == 0:
    if sys.argv[1] == "orphan" and os.fork(): os._exit(0)
    work()
    os._exit(0)
os.wait()
open(sys.argv[2], "w").close()
time.sleep(1000)
"""


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        yield bench


@pytest.mark.parametrize("kind", ["child", "orphan"])
async def test_the_work_of_processes_that_ended_stays_counted(bench: Bench, kind: str) -> None:
    """Be it of a child of the leader, or of an orphan that the keeper took up."""
    done = bench.run / "done"
    argv = (sys.executable, "-S", "-E", "-c", BUSY_CHILD, kind, str(done))
    await processes.start(bench.run, SERVICE, replace(bench.launch("hang"), argv=argv))
    facts = bench.facts()
    leader, keeper = facts.pid or 0, facts.keeper_pid or 0

    await bench.until(lambda: done.exists() and children(keeper) == [leader] and children(leader) == [])

    assert cpu_activity.processor_time(leader, keeper) >= 0.8 * WORK  # the kernel counts in ticks


async def test_an_orphan_at_work_is_counted(bench: Bench) -> None:
    """Though its parent is not the leader any more; the keeper itself is not."""
    done = bench.run / "done"
    argv = (sys.executable, "-S", "-E", "-c", BUSY_CHILD.replace(str(WORK), "1000"), "orphan", str(done))
    await processes.start(bench.run, SERVICE, replace(bench.launch("hang"), argv=argv))
    facts = bench.facts()

    await bench.until(lambda: cpu_activity.processor_time(facts.pid or 0, facts.keeper_pid) >= WORK)

    assert cpu_activity.processor_time(facts.pid or 0, None) < WORK
    assert cpu_activity.processor_time(os.getpid(), os.getpid()) < cpu_activity.processor_time(os.getpid(), None)


@pytest.mark.parametrize(
    ("used", "answers", "since"),
    [
        ([5.0, 5.0, 5.01], False, 100.0),  # idle but for its timers
        ([5.0, 5.0, 6.0], False, 102.0),  # works
        ([5.0, 5.0, 4.0], False, 102.0),  # a child ended that nobody waited for
        ([5.0, 5.0, 5.0], True, None),  # idle, and answers something wrong
    ],
)
async def test_quiet_is_who_neither_answers_nor_works(
    monkeypatch: pytest.MonkeyPatch, used: list[float], answers: bool, since: float | None
) -> None:
    """Since it was first so."""
    quiet, times = cpu_activity.Quiet(), iter(used)
    monkeypatch.setattr(cpu_activity, "processor_time", lambda _leader, _keeper: next(times))
    probe = Probe(health=Health.UNRESPONSIVE)

    for at in (100.0, 101.0, 102.0):
        monkeypatch.setattr(
            "reconciler.engines.local.processes.cpu_activity.time.clock_gettime", lambda _clock, at=at: at
        )
        # It was asked five seconds before, and is judged by what it did until its work was looked at.
        probe = await quiet.judge(running(), replace(probe, at=at - 5, misses=1, answers=answers))

    assert probe.quiet_since == since
