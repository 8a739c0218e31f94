"""What a service uses: its whole tree, and nobody else's processes."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import processes
from reconciler.engines.local.processes.usage import usage
from tests.support.bench import SERVICE, Bench, a_bench, children
from tests.support.runs import record_leader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 2**20
TREE = f"""
import mmap, os, sys, threading, time
shared = mmap.mmap(-1, 64 * {MIB})
shared[:] = bytes(len(shared))
for orphan in (False, True):
    if (pid := os.fork()) == 0:
        if orphan and os.fork(): os._exit(0)
        if orphan: os.setsid()
        len(bytes(shared))
        begin = time.process_time()
        while time.process_time() < begin + 0.2: pass
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        open(sys.argv[1] + str(orphan), "w").close()
        time.sleep(1000)
    if orphan: os.waitpid(pid, 0)
time.sleep(1000)
"""
"""A leader, a child, and an orphan in a session of its own: each with the same 64 MiB, the last two with a thread."""


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        yield bench


async def test_the_whole_tree_is_counted(bench: Bench) -> None:
    """With an orphan that only the keeper has for a child; what is shared counts once in PSS."""
    done = bench.run / "done"
    argv = (sys.executable, "-S", "-E", "-c", TREE, str(done))
    await processes.start(bench.run, SERVICE, replace(bench.launch("hang"), argv=argv))
    await bench.until(lambda: all(done.with_name(f"done{orphan}").exists() for orphan in (False, True)))
    leader = bench.facts().pid or 0
    await bench.until(lambda: len(children(leader)) == 1)

    used, more = usage(bench.run, SERVICE), usage(bench.run, SERVICE, pss=True)

    assert used is not None
    assert more is not None
    assert more.pss is not None
    assert used.tasks == 5
    assert used.cpu >= 0.35  # the kernel counts in ticks
    assert used.memory >= 3 * 64 * MIB
    assert 64 * MIB <= more.pss < 2 * 64 * MIB
    assert await bench.stop()
    assert usage(bench.run, SERVICE) is None


def test_a_record_that_is_not_proved_is_measured_as_nothing(tmp_path: Path) -> None:
    """None at all, one of another boot, one whose pid is another process's by now."""
    assert usage(tmp_path, "agent") is None
    place = identity.RunFiles(str(record_leader(tmp_path)), "agent")
    mine = usage(tmp_path, "agent")
    assert mine is not None
    assert mine.memory >= psutil.Process().memory_info().rss // 2
    run = identity.read_record(place.run)
    for wrong in ({"boot_id": "another"}, {"leader": run["leader"] | {"start": 1}}):
        identity.write_record(place.run, run | wrong, durable=False)
        assert usage(tmp_path, "agent") is None
    assert os.getpid() == run["leader"]["pid"]
