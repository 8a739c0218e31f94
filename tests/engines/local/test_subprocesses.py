"""Helper programs: bounded, cancellable, nothing left."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import subprocesses

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 60.0
ENV = {"PATH": os.environ["PATH"]}
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print(os.getpid(), child, file=sys.stderr, flush=True)
signal.pause()
"""
HEIR = """
import os, signal, sys
ready, done = os.pipe()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(done, b"x")
    signal.pause()
os.read(ready, 1)
print("done")
"""


def gone(pids: list[int]) -> bool:
    """Whether all of these have ended, or do within the moment a KILL takes; init may be slow to bury them."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([handle], [], [], 5.0)
        os.close(handle)
        if not ended:
            return False
    return True


async def test_output_and_exit_code_are_separate() -> None:
    """Both streams, the code, and nothing of our own environment."""
    script = "import os, sys; print(sorted(os.environ)); print('oops', file=sys.stderr); sys.exit(3)"

    result = await subprocesses.run([sys.executable, "-I", "-c", script], env={"A": "b"}, timeout=LIMIT)

    assert (result.code, result.err) == (3, "oops\n")
    assert "'A'" in result.out
    assert "HOME" not in result.out


async def test_progress_lines_end_at_carriage_returns_too() -> None:
    """As git writes them."""
    lines: list[str] = []
    script = r"import sys; sys.stderr.write('a 1%\ra 2%\rb\n\n'); sys.stderr.flush()"

    await subprocesses.run([sys.executable, "-c", script], env=ENV, timeout=LIMIT, on_line=lines.append)

    assert lines == ["a 1%", "a 2%", "b"]


async def test_endless_output_is_cut_and_blocks_nobody() -> None:
    """A program that says too much still ends, and we keep a part."""
    script = f"import sys; sys.stdout.write('x' * {subprocesses.MAX_OUTPUT + 1_000_000})"

    result = await subprocesses.run([sys.executable, "-c", script], env=ENV, timeout=LIMIT)

    assert (result.code, len(result.out)) == (0, subprocesses.MAX_OUTPUT)


async def test_what_takes_too_long_is_ended_with_all_its_children() -> None:
    """Even when they ignore TERM."""
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.extend(int(word) for word in line.split())

    with pytest.raises(TimeoutError, match="did not end within 5 s"):
        await subprocesses.run([sys.executable, "-c", STUBBORN], env=ENV, timeout=5.0, on_line=on_line)

    assert len(pids) == 2, "it was ended before it was as bad as it means to be"
    assert gone(pids)


@pytest.mark.parametrize("impatient", [False, True])
async def test_a_cancelled_command_leaves_nothing(*, impatient: bool) -> None:
    """Cancelled once, or once more while it is being ended."""
    started: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    def on_line(line: str) -> None:
        started.set_result([int(word) for word in line.split()])

    task = asyncio.create_task(
        subprocesses.run([sys.executable, "-c", STUBBORN], env=ENV, timeout=LIMIT, on_line=on_line)
    )
    pids = await asyncio.wait_for(started, LIMIT)
    task.cancel()
    if impatient:
        await asyncio.wait({task}, timeout=0.1)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(pids) == 2
    assert gone(pids)


async def test_a_child_left_behind_is_ended_with_the_command() -> None:
    """It holds the output open; the answer comes all the same."""
    result = await subprocesses.run([sys.executable, "-c", HEIR], env=ENV, timeout=LIMIT)

    assert result.out == "done\n"


async def test_a_missing_program_is_an_error_at_once(tmp_path: Path) -> None:
    """Not a hanging promise."""
    with pytest.raises(FileNotFoundError):
        await subprocesses.run([str(tmp_path / "nothing")], env=ENV, timeout=LIMIT)


async def test_many_at_once_do_not_disturb_each_other() -> None:
    """Each gets its own answer."""
    results = await asyncio.gather(*(subprocesses.run(["echo", str(n)], env=ENV, timeout=LIMIT) for n in range(20)))

    assert [result.out for result in results] == [f"{n}\n" for n in range(20)]
