"""Why a service ended, as it is told: the causes of restarts, each brought about for real where the machine lets us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.local import processes, proofs
from tests.support.bench import SERVICE, Bench, a_bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from reconciler.facts import Exit
    from tests.support.world import Status, World

LIMIT = 32 << 20
"""Bytes."""
HUNGRY = "import sys; open(sys.argv[1]).read(); hoard = [bytes([n % 7]) * (1 << 20) for n in range(1000)]"


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        yield bench


@contextlib.contextmanager
def little_memory() -> Iterator[Path | None]:
    """A cgroup with little memory, where we may make one; None elsewhere."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"opencode-manager-test-{os.getpid()}"
        try:
            group.mkdir()
            group.joinpath(limit).write_text(str(LIMIT))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None


async def end_of(bench: Bench, code: str) -> Exit:
    """How a service with this Python program ended by itself."""
    argv = (sys.executable, "-S", "-E", "-c", code)
    await processes.start(bench.run, SERVICE, replace(bench.launch("hang"), argv=argv))
    ended = (await bench.exited()).exit
    assert ended is not None
    return ended


async def test_the_kernels_want_of_memory_is_told(bench: Bench) -> None:
    """By its own count. Where no cgroup can be made the count is faked, and the kill is ours."""
    leash = bench.run / "leash"
    os.mkfifo(leash)
    argv = (sys.executable, "-S", "-E", "-c", HUNGRY, str(leash))
    await processes.start(bench.run, SERVICE, replace(bench.launch("hang"), argv=argv))
    pid = bench.facts().pid
    assert pid is not None
    with little_memory() as group:
        if group is not None:
            group.joinpath("cgroup.procs").write_text(str(pid))
            await asyncio.to_thread(leash.write_text, "go")
        else:
            keeper = bench.facts().keeper_pid
            assert keeper is not None
            os.kill(keeper, signal.SIGKILL)
            place = proofs.Place(str(bench.run), SERVICE)
            proofs.write_record(place.run, {**bench.record("run"), "oom_kills": proofs.oom_kills() - 1})
            await processes.adopt(bench.run, SERVICE)
            os.kill(pid, signal.SIGKILL)
        ended = (await bench.exited()).exit

    assert ended is not None
    assert ended.text == "signal 9 (out of memory)"


async def test_a_kill_without_want_of_memory_is_a_kill(bench: Bench) -> None:
    """And nothing is guessed."""
    ended = await end_of(bench, "import os; os.kill(os.getpid(), 9)")

    assert ended.text == "signal 9"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("OSError: [Errno 98] Address already in use", "its port was taken"),
        ("Error: Unexpected error\\n\\nServeError", "it could not listen on its port"),
        ("JavaScript heap out of memory", "out of memory"),
    ],
)
async def test_the_last_words_of_a_service_tell_the_cause(bench: Bench, words: str, cause: str) -> None:
    """By name; the words themselves stay in the log."""
    ended = await end_of(bench, f"import sys; sys.exit('{words}')")

    assert ended.text == f"exit code 1 ({cause})"


def test_a_wedged_agent_is_started_anew_after_a_while(world: World) -> None:
    """Silent and idle, here because it was stopped by a signal: counted, and the cause is told."""
    world.environment |= {"OPENCODE_MANAGER_LIVENESS": "0.5", "OPENCODE_MANAGER_WEDGED": "2"}
    world.light("app")
    world.start()
    before = world.ready("app")

    os.kill(before["agent"]["pid"], signal.SIGSTOP)

    def replaced(status: Status) -> bool:
        return bool(status["ready"]["status"]) and status["agent"]["pid"] != before["agent"]["pid"]

    after = world.wait("app", replaced)
    assert (after["agent"]["restarts"], after["agent"]["last_exit"]) == (1, "being wedged")


def test_a_silent_agent_is_not_called_running_and_not_killed_at_once(world: World) -> None:
    """It goes on with the same pid when it answers again."""
    world.environment |= {"OPENCODE_MANAGER_LIVENESS": "0.5"}
    world.light("app")
    world.start()
    before = world.ready("app")

    os.kill(before["agent"]["pid"], signal.SIGSTOP)
    world.wait("app", lambda status: status["reason"] == "Unresponsive")
    os.kill(before["agent"]["pid"], signal.SIGCONT)

    assert world.ready("app")["agent"]["pid"] == before["agent"]["pid"]
