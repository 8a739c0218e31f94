"""Trees that do not want to end: a stop leaves nothing of them, and nobody says so before it is true."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING

import psutil
import pytest
import watchfiles

from reconciler.core.observed import Phase
from tests.support.bench import PATIENCE, Bench, a_bench, kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.scoreboard import Score

TREES = {
    "ignore": "the leader ignores TERM",
    "swallow": "the leader swallows the first TERM",
    "family": "the leader ends and a child in its group ignores TERM",
    "daemon": "a daemonised grandchild ignores TERM",
    "marked": "the same, without our descriptors",
    "hidden": "the same, without environment and descriptors",
    "crowd": "hundreds of children ignore TERM",
    "storm": "a storm of forks",
    "hang": "the leader is stopped",
}
OTHERS = {"family": "child", "crowd": "child", "daemon": "grandchild", "marked": "grandchild", "hidden": "grandchild"}
"""Who else must be there before the stop."""
CROWD = 500
FORKS = 200_000
"""More than it has time for: who waits for its end waits for minutes."""
GRACE = 0.5


@contextlib.asynccontextmanager
async def a_witness(bench: Bench, score: Score, what: str) -> AsyncIterator[None]:
    """Looks whenever a file of the run folder changes: who says that it is over while somebody lives, lies."""
    done = asyncio.Event()

    async def look() -> None:
        async for _ in watchfiles.awatch(bench.run, debounce=1, step=1, stop_event=done):
            judge(bench, score, what)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        done.set()
        await task


def judge(bench: Bench, score: Score, what: str) -> bool:
    """Whether it is said to be over; a violation when somebody of it lives then."""
    over = bench.facts().phase is Phase.EXITED
    living = bench.living() if over else []
    score.expect(not living, f"{what}: said to be over, and {living} live")
    return over


def wait_stopped(leader: int) -> None:
    """Until a process that is about to stop itself has done so: only its parent is told, so it is looked at."""
    deadline = time.monotonic() + PATIENCE
    while psutil.Process(leader).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, f"{leader} does not stop itself"
        os.sched_yield()


async def end(bench: Bench, score: Score, mode: str, keeper: str) -> None:
    """Start it, let it become as bad as it means to be, and stop it."""
    what = f"{TREES[mode]}, held by {keeper}{' in bubblewrap' if bench.confined else ''}"
    await bench.start(mode, {"storm": FORKS, "crowd": CROWD}.get(mode, ""), grace=GRACE)
    [leader] = await asyncio.to_thread(bench.hear, "leader")
    if mode in OTHERS:
        await asyncio.to_thread(bench.hear, OTHERS[mode], CROWD if mode == "crowd" else 1)
    if mode == "hang":
        await asyncio.to_thread(wait_stopped, leader)
    async with a_witness(bench, score, what):
        if keeper == "a second keeper":
            await kill(bench.facts().keeper_pid)
        score.expect(await bench.stop(), f"{what}: it was not stopped")
        score.expect(judge(bench, score, what), f"{what}: stopped, and not said to be over")
        score.expect(not bench.living(), f"{what}: stopped, and {bench.living()} live")
    score.tried()


@pytest.mark.parametrize("confined", [False, True], ids=["free", "confined"])
@pytest.mark.parametrize("keeper", ["its keeper", "a second keeper"])
async def test_stopped_means_empty(tmp_path: Path, score: Score, keeper: str, *, confined: bool) -> None:
    """Stop of hostile trees: empty afterwards, and only then stopped."""
    # Of an adopted tree nothing proves a grandchild that kept neither environment nor descriptors; if it is confined,
    # that is a descendant of its namespace's first process.
    modes = [mode for mode in TREES if keeper == "its keeper" or confined or mode != "hidden"]
    for turn in score.times(1, 25):
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for mode in modes:
                root = tmp_path / f"{mode}{turn}"
                root.mkdir()
                bench = await stack.enter_async_context(a_bench(root, confined=confined))
                tasks.create_task(end(bench, score, mode, keeper))


async def test_a_leader_that_ends_by_itself(tmp_path: Path, score: Score) -> None:
    """A leader ends by itself and a child in its group ignores TERM: over only when that is gone."""
    for turn in score.times(2, 50):
        root = tmp_path / str(turn)
        root.mkdir()
        async with a_bench(root) as bench, a_witness(bench, score, "a leader that ended by itself"):
            await bench.start("group", grace=GRACE)
            await asyncio.to_thread(bench.hear, "child")
            await bench.exited()
            score.expect(judge(bench, score, "at the end"), "its keeper is gone, and it is not over")
            score.tried()
