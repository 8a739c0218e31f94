"""Asking the nursery for keepers, and handing them their jobs.

Belongs here: the nursery as a child of this process, the pipes to a keeper, its answer. Does not belong here: what the
keeper is asked to do (`processes`), or how it is forked (`nursery`).
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

from reconciler import crash
from reconciler.local.nursery import ROOM

KEEPER: Final = Path(__file__).with_name("keeper.py")
ANSWER_LIMIT: Final = 30.0
"""Seconds for a keeper to answer: its disk may be slow, and what the last run left behind is ended first."""


FORK_LIMIT: Final = 10.0
"""Seconds for a keeper to be forked."""


class Nursery:
    """The nursery of this process. It ends with us, its keepers do not; one that was killed is started again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self.pid = 0

    def prepare(self) -> None:
        """Start it, so that the first service need not wait for it."""
        with self._lock:
            if self._channel is None:
                self._start()

    def fork(self, arguments: list[str], stdin: int, stdout: int) -> int:
        """Have a keeper forked; its pidfd.

        Raises:
            OSError: it cannot be.
        """
        request = "\0".join([os.environ.get(crash.VARIABLE, ""), *arguments]).encode()
        with self._lock:
            try:
                return self._ask(request, stdin, stdout)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):  # somebody killed or stopped it
                self._end()
                return self._ask(request, stdin, stdout)

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._end()

    def _ask(self, request: bytes, stdin: int, stdout: int) -> int:
        channel = self._channel or self._start()
        socket.send_fds(channel, [request], [stdin, stdout])
        answer, handles, _, _ = socket.recv_fds(channel, 64, 1)
        if not answer:
            raise ConnectionResetError
        return handles[0]

    def _start(self) -> socket.socket:
        # No core file of ours, of a keeper or of a service, which inherit it: their memory holds secrets.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", "-S", str(KEEPER), "--nursery", " " * ROOM]
            actions = [
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_RDWR, 0),
            ]
            self.pid = os.posix_spawn(sys.executable, command, {}, file_actions=actions, setsid=True)
        ours.settimeout(FORK_LIMIT)
        self._channel = ours
        return ours

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # our child, not reaped: nobody else has its pid
            with contextlib.suppress(ChildProcessError):  # somebody waited for all children
                os.waitpid(self.pid, 0)


nursery: Final = Nursery()


def ask_keeper(arguments: list[str], job: bytes) -> str:
    """Have a keeper started, hand it its job, and wait for its answer. Blocks.

    Returns:
        Its answer; empty when it died before it gave one.

    Raises:
        TimeoutError: there is no answer; it may still do its job later.
    """
    theirs, give = os.pipe()
    answers, answer = os.pipe()
    try:
        pidfd = nursery.fork(arguments, theirs, answer)
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
