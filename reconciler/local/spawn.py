"""Starting keeper programs as children of this process, and reaping them.

Belongs here: the pipes to a keeper, its answer, its end. Does not belong here: what the keeper is asked to do
(`processes`).

Reaping is by pid and only of keepers: the children of others, like git helpers, belong to whoever started them. A
keeper that outlives this process is reaped by whoever inherits it.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from pathlib import Path
from typing import Final

from reconciler import crash

KEEPER: Final = Path(__file__).with_name("keeper.py")
ANSWER_LIMIT: Final = 30.0
"""Seconds for a keeper to answer: its disk may be slow, and what the last run left behind is ended first."""

_lock = threading.Lock()
_children: set[int] = set()
"""Our keepers that were not reaped; their pids cannot be given to anybody else."""


def ask_keeper(arguments: list[str], job: bytes) -> str:
    """Start a keeper, hand it its job, and wait for its answer. Blocks.

    Returns:
        Its answer; empty when it died before it gave one.

    Raises:
        TimeoutError: there is no answer; it may still do its job later.
    """
    theirs, give = os.pipe()
    answers, answer = os.pipe()
    try:
        pidfd = _spawn(arguments, theirs, answer)
    except OSError:
        os.close(give)
        os.close(answers)
        raise
    finally:
        os.close(theirs)
        os.close(answer)
    deadline = time.monotonic() + ANSWER_LIMIT
    try:
        with open(give, "wb") as pipe, contextlib.suppress(BrokenPipeError):  # noqa: PTH123  a descriptor
            pipe.write(job)
        text = _read(answers, deadline)
        if text != "started":  # it ends now, and nobody will watch it
            _await(pidfd, deadline)
        return text
    finally:
        os.close(answers)
        os.close(pidfd)
        reap()


def reap() -> None:
    """Reap the keepers of ours that have ended."""
    with _lock:
        for pid in list(_children):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # somebody waited for all children
                ended = pid
            if ended:
                _children.discard(pid)


def _spawn(arguments: list[str], stdin: int, stdout: int) -> int:
    """Start a keeper isolated, without our environment and descriptors; says its pidfd."""
    command = [sys.executable, "-I", "-S", str(KEEPER), *arguments]
    env = {name: os.environ[name] for name in (crash.VARIABLE,) if name in os.environ}
    actions = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_RDWR, 0),
    ]
    with _lock:
        pid = os.posix_spawn(sys.executable, command, env, file_actions=actions, setsid=True)
        _children.add(pid)
        return os.pidfd_open(pid)


def _read(pipe: int, deadline: float) -> str:
    """All that is written to a pipe until its other end is closed."""
    text = b""
    while True:
        _await(pipe, deadline)
        piece = os.read(pipe, 4096)
        if not piece:
            return text.decode()
        text += piece


def _await(handle: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError(f"its keeper does not answer within {ANSWER_LIMIT:.0f} s")
