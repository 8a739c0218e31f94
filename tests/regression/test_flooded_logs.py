"""A service that prints without pause: the disk does not fill, the last lines stay, a quiet service costs nothing."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.keeper import log_cap
from reconciler.engines.local.processes import processes
from tests.support.bench import Bench, a_bench, kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CAP = log_cap.LOG_LIMIT * (1 + log_cap.LOGS_KEPT)
FLOOD = 400_000_000
"""Bytes, at some 250 MB a second."""


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        logs_into(tmp_path, bench)
        yield bench


def logs_into(root: Path, bench: Bench, name: str = "app") -> None:
    """Let the service have its log in a folder of logs."""
    (root / "logs").mkdir(exist_ok=True)
    bench.log = root / "logs" / f"{name}.log"


async def begin(bench: Bench, amount: int = FLOOD) -> int:
    """Start a service that will print this much."""
    await bench.start("flood", f"{amount}:{bench.run.parent / 'peak'}")
    return bench.hear("leader")[0]


async def flood(bench: Bench, pid: int) -> int:
    """Have it print; the most that the folder of logs held, in bytes."""
    os.kill(pid, signal.SIGUSR1)
    bench.hear("flooded")
    await bench.until(lambda: bench.log.stat().st_size <= log_cap.LOG_LIMIT)
    return int((bench.run.parent / "peak").read_text())


def switches(bench: Bench) -> int:
    """How often the service's keeper has woken up."""
    with open(f"/proc/{bench.facts().keeper_pid}/status") as status:  # noqa: PTH123
        return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)


async def test_a_flood_stays_below_twice_the_cap(bench: Bench) -> None:
    """At whatever rate the disk takes it."""
    peak = await flood(bench, await begin(bench))
    print(f"the logs held {peak / 1e6:.0f} MB at most of {FLOOD / 1e6:.0f} MB")  # noqa: T201  for the record

    assert peak <= 2 * CAP


async def test_the_last_lines_of_a_flood_are_kept_in_order(bench: Bench) -> None:
    """The old logs and the log, one after the other, are what was printed at the end."""
    await flood(bench, await begin(bench))
    *lines, last = b"".join(
        path.read_bytes() for path in sorted(bench.log.parent.glob("*.log*"), reverse=True)
    ).splitlines()
    numbers = [int(line.split()[1]) for line in lines if line.startswith(b"line ") and len(line) == 999]

    assert last == b"the last line"
    assert numbers == sorted(numbers)
    assert len(numbers) > log_cap.LOG_LIMIT / 1000 / 2


async def test_a_flood_after_the_keeper_that_watched_was_killed(bench: Bench, tmp_path: Path) -> None:
    """Another keeper of the folder watches at once."""
    (tmp_path / "first").mkdir()
    async with a_bench(tmp_path / "first") as first:
        logs_into(tmp_path, first, "first")
        await first.start("ignore")
        first.hear("leader")
        pid = await begin(bench)
        await kill(first.facts().keeper_pid)

        assert await flood(bench, pid) <= 2 * CAP


async def test_a_flood_of_an_adopted_service_whose_log_was_renamed(bench: Bench) -> None:
    """It writes into the renamed file, which is kept small too."""
    pid = await begin(bench)
    await kill(bench.facts().keeper_pid)
    renamed = bench.log.rename(bench.log.with_name("app.log.old"))
    await processes.adopt(bench.run, "agent")
    bench.log.touch()
    assert await flood(bench, pid) <= 2 * CAP
    await bench.until(lambda: renamed.stat().st_size <= log_cap.LOG_LIMIT)


async def test_a_quiet_service_sleeps_while_another_floods(bench: Bench, tmp_path: Path) -> None:
    """Its keeper does not wake for what others print, but for its own patrol."""
    (tmp_path / "quiet").mkdir()
    pid = await begin(bench)
    async with a_bench(tmp_path / "quiet") as quiet:
        logs_into(tmp_path, quiet, "quiet")
        await quiet.start("ignore")
        quiet.hear("leader")
        before = switches(quiet)
        await flood(bench, pid)

        assert switches(quiet) - before <= 5
        assert switches(bench) > 20
