"""A helper program that cannot be ended, and a large clone that is removed, hold up nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from reconciler.engines.local.git import cloning, repo, subprocesses
from tests.support.clones import git_world
from tests.support.world import make_repository

if TYPE_CHECKING:
    from pathlib import Path

ENV = {"PATH": os.environ["PATH"]}
PATIENCE = 60.0
HELD = """
import ctypes, os, signal, sys
libc, ready, done = ctypes.CDLL(None), *os.pipe()
if os.fork() == 0:
    os.setsid()
    os.read(ready, 1)
    assert libc.ptrace(0x4206, os.getppid(), 0, 0) == 0  # PTRACE_SEIZE: only this process can reap it now
    os.write(2, b"held\\n")
    os.closerange(0, 3)
    open(sys.argv[1]).read()
    os._exit(0)
libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER_ANY
os.write(done, b"x")
while True:
    signal.pause()
"""


def reapers() -> list[threading.Thread]:
    """Threads that wait for what could not be reaped."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("reap ")]


async def test_a_program_that_cannot_be_reaped_holds_up_nobody(tmp_path: Path) -> None:
    """As one in uninterruptible sleep, of a network file system: here a debugger holds what KILL has ended."""
    release, held = tmp_path / "release", asyncio.Event()
    os.mkfifo(release)
    late = threading.Event()

    def give_up() -> None:  # or this would never end
        late.set()
        release.write_text("")

    guard = threading.Timer(PATIENCE, give_up)
    guard.start()
    argv = [sys.executable, "-S", "-c", HELD, str(release)]
    running = asyncio.create_task(subprocesses.run(argv, env=ENV, timeout=PATIENCE, on_line=lambda _line: held.set()))
    await held.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    waited = reapers()
    guard.cancel()

    assert not late.is_set()
    assert len(waited) == 1
    release.write_text("")
    await asyncio.to_thread(waited[0].join, PATIENCE)
    assert reapers() == []


async def test_a_program_that_nobody_could_end_is_not_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last descriptor was taken by the program's own pipes. (What the kernel says then is fake.)."""

    def full(_pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", full)
    with pytest.raises(OSError, match="Too many open files"):
        await subprocesses.run(["sleep", "1000"], env=ENV, timeout=PATIENCE)
    for thread in reapers():
        await asyncio.to_thread(thread.join, PATIENCE)

    assert [child for child in psutil.Process().children() if "sleep" in child.name()] == []


async def test_what_is_left_of_a_clone_is_removed_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds, of a large one, in which no other project would be served."""
    origin, where = make_repository(tmp_path / "origin"), list[threading.Thread]()
    remove: Any = shutil.rmtree

    def watched(*arguments: Any, **options: Any) -> None:
        where.append(threading.current_thread())
        remove(*arguments, **options)

    async def cancelled(_job: object, _target: object, partial: Path) -> None:  # a fake transfer, in its middle
        (partial / ".git").mkdir(parents=True)
        raise asyncio.CancelledError

    monkeypatch.setattr(shutil, "rmtree", watched)
    monkeypatch.setattr(cloning, "_transfer", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await repo.clone(str(origin), None, tmp_path / "box" / "repo", world=git_world())

    assert threading.main_thread() not in where
    assert where
    assert [path.name for path in (tmp_path / "box").iterdir() if "partial" in path.name] == []
