"""Limits without the kernel: a watchdog over real services, as any user may run it, while others live."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import ObservedLimit, Phase, Service
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.limits import limiting, overrun, watchdog
from reconciler.engines.local.limits.means import Ceilings, Limit, Means
from reconciler.engines.local.limits.overrun import Overrun
from reconciler.engines.local.limits.watchdog import Watchdog
from reconciler.engines.local.processes import processes
from tests.support.bench import Bench, a_bench, a_stranger
from tests.support.runs import record_leader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MIB = 2**20
SHARED = f"""
import mmap, os, time
shared = mmap.mmap(-1, 64 * {MIB})
shared[:] = bytes(len(shared))
if os.fork() == 0:
    len(bytes(shared))
    open({{ready!r}}, "w").close()
time.sleep(1000)
"""
"""Two processes with the same 64 MiB: twice that resident, and once that in use."""
THREADS = """
import threading, time
for _ in range(9): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
open({ready!r}, "w").close()
time.sleep(1000)
"""
CALM = "import time; open({ready!r}, 'w').close(); time.sleep(1000)"


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        try:
            yield bench
        finally:
            await processes.stop(bench.run, "bridge", timeout=60.0)


@pytest.fixture(name="stranger", autouse=True)
def _stranger() -> Iterator[None]:
    with a_stranger():
        yield


async def start(bench: Bench, code: str, service: Service = Service.AGENT) -> int:
    """Start a Python program as a service, and wait until it is ready; its pid."""
    ready = bench.run / f"{service}.ready"
    argv = (sys.executable, "-S", "-E", "-c", code.format(ready=str(ready)))
    launch = replace(bench.launch("hang"), argv=argv, pid_file=bench.run / f"{service}.pid")
    await processes.start(bench.run, service.value, launch)
    await bench.until(ready.exists)
    return pid(bench, service) or 0


def pid(bench: Bench, service: Service) -> int | None:
    return processes.observe(bench.run, service.value, processes.now()).pid


async def test_an_agent_over_its_memory_is_ended_and_its_bridge_is_not(bench: Bench) -> None:
    """As if the kernel had done it: the same words, the same back-off."""
    bridge = await start(bench, CALM, Service.BRIDGE)
    await start(bench, SHARED)

    used = watchdog.hold(bench.run, Ceilings(memory=48 * MIB))
    ended = (await bench.exited()).exit

    assert 64 * MIB <= used[Limit.MEMORY] < 128 * MIB
    assert ended is not None
    assert ended.text == "signal 9 (out of memory at its limit of 48MiB)"
    assert (ended.out_of_memory, ended.asked) == (True, False)
    assert pid(bench, Service.BRIDGE) == bridge


async def test_what_processes_share_counts_once(bench: Bench) -> None:
    """Resident they have more than the limit."""
    agent = await start(bench, SHARED)

    used = watchdog.hold(bench.run, Ceilings(memory=120 * MIB))

    assert used[Limit.MEMORY] < 120 * MIB
    assert pid(bench, Service.AGENT) == agent


async def test_an_agent_with_too_many_tasks_is_ended(bench: Bench) -> None:
    """Threads count; that is no want of memory."""
    agent = await start(bench, THREADS)
    assert watchdog.hold(bench.run, Ceilings(tasks=10))[Limit.TASKS] == 10
    assert pid(bench, Service.AGENT) == agent

    watchdog.hold(bench.run, Ceilings(tasks=9))
    ended = (await bench.exited()).exit

    assert ended is not None
    assert (ended.cause, ended.out_of_memory) == ("stopped at its limit of 9 tasks", False)


async def test_it_watches_until_it_is_closed(bench: Bench) -> None:
    """Of two projects one is over its limit: the other goes on, and its use is known."""
    other = bench.run.parent / "other"
    record_leader(other)
    await start(bench, SHARED)
    watching = Watchdog(period=0.0)
    watching.keep("other", other, Ceilings(tasks=10_000))
    watching.keep("blog", bench.run, Ceilings(memory=48 * MIB))

    ended = (await bench.exited()).exit
    limit = ObservedLimit(name="tasks", value=10_000, enforced_by=Means.WATCHDOG.value, hard=False)
    [seen] = watching.with_use("other", (limit,))
    await watching.close()

    assert ended is not None
    assert ended.out_of_memory
    assert seen.used is not None
    assert seen.used >= 1
    assert watching.with_use("nobody", (limit,)) == (limit,)
    assert watching.with_use("other", (replace(limit, used=7),))[0].used == 7


async def test_it_does_nothing_while_nothing_is_watched(tmp_path: Path) -> None:
    """No task, not even a timer; what is watched no more ends it."""
    watching = Watchdog(period=0.0)
    watching.keep("blog", tmp_path, Ceilings())
    assert watching._task is None
    watching.keep("blog", tmp_path, Ceilings(tasks=1))
    watching.keep("blog", tmp_path, Ceilings())
    assert watching._task is not None

    await watching._task
    await watching.close()


def test_a_record_that_is_not_proved_is_nobodys_to_end(tmp_path: Path) -> None:
    """We are the leader of one of another boot, and of one with another start: we live to say so."""
    place = identity.RunFiles(str(record_leader(tmp_path)), "agent")
    run = identity.read_record(place.run)
    for wrong in ({"boot_id": "another"}, {"leader": run["leader"] | {"start": 1}}):
        identity.write_record(place.run, run | wrong, durable=False)
        assert watchdog.hold(tmp_path, Ceilings(tasks=0)) == {Limit.MEMORY: 0, Limit.TASKS: 0}
    assert watchdog.hold(tmp_path / "nothing", Ceilings(memory=1)) == {Limit.MEMORY: 0, Limit.TASKS: 0}
    assert watchdog.measure({os.getpid(), 2**31 - 1})[Limit.TASKS] >= 1


def test_the_cause_is_kept_for_its_run_alone(tmp_path: Path) -> None:
    """Another run has none; nor has a file that is broken, or a folder that is gone."""
    found = Overrun(run_id="run-1", cause="out of memory at its limit of 2GiB", memory=True)
    overrun.write(str(tmp_path), "agent", found)

    assert overrun.read(str(tmp_path), "agent", "run-1") == found
    assert overrun.read(str(tmp_path), "agent", "run-2") is None
    assert overrun.read(str(tmp_path), "bridge", "run-1") is None
    for broken in ("", "[]", '{"run_id": "run-1"}', "\xff"):
        tmp_path.joinpath("agent.overrun.json").write_text(broken, encoding="latin-1")
        assert overrun.read(str(tmp_path), "agent", "run-1") is None
    overrun.write(str(tmp_path / "gone"), "agent", found)


def test_only_soft_limits_are_watched() -> None:
    """What the kernel enforces needs no watchdog, and what none can judge has none."""
    soft, hard = Means.WATCHDOG.value, Means.CGROUP1.value
    limits = [
        ObservedLimit(name="memory", value=2.0**30, enforced_by=soft, hard=False),
        ObservedLimit(name="cpus", value=1.5, enforced_by=Means.NOTHING.value, hard=False),
        ObservedLimit(name="tasks", value=9, enforced_by=hard, hard=True),
    ]

    assert limiting.watched(limits) == Ceilings(memory=2**30)
    assert limiting.watched([]) == Ceilings()
    assert watchdog.broken(Ceilings(memory=5, tasks=5), {Limit.TASKS: 6}) is Limit.TASKS
    assert watchdog.broken(Ceilings(memory=5, tasks=5), {Limit.TASKS: 5, Limit.MEMORY: 5}) is None


async def test_a_keeper_that_was_killed_is_not_counted(bench: Bench) -> None:
    """What it held is measured by its leader alone."""
    await start(bench, THREADS)
    os.kill(bench.facts().keeper_pid or 0, 9)
    await bench.until(lambda: bench.facts().phase is Phase.ORPHANED)

    assert watchdog.hold(bench.run, Ceilings(tasks=100))[Limit.TASKS] == 10
