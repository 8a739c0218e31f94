"""Ask the fork server for keepers, and hand them their jobs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from reconciler.engines.local.keeper.fork_server import ROOM
from reconciler.system import failpoint

KEEPER: Final = Path(__file__).parents[1] / "keeper" / "keeper.py"
ANSWER_LIMIT: Final = 30.0
"""Seconds for a keeper to answer: its disk may be slow, and what the last run left behind is ended first."""
FORK_LIMIT: Final = 10.0
"""Seconds for a keeper to be forked."""
IN_FLIGHT: Final = 8
"""Requests that may wait in the fork server's socket: the kernel limits how many descriptors do."""


class ForkServer:
    """The fork server of this process. It ends with us, its keepers do not; one that was killed is started again."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        self._waiting: dict[str, asyncio.Future[int]] = {}
        """Waiters for a keeper, by the number of the request."""
        self._numbers = itertools.count()
        self.pid = 0

    def prepare(self) -> None:
        """Start it, so that the first service need not wait for it."""
        if self._channel is None:
            self._start()

    async def fork(self, arguments: list[str], stdin: int, stdout: int) -> int:
        """Have a keeper forked; return its pidfd.

        Raises:
            OSError: it cannot be.
        """
        try:
            return await self._ask(arguments, stdin, stdout)
        except (ConnectionError, TimeoutError):  # somebody killed or stopped it
            return await self._ask(arguments, stdin, stdout)

    def close(self) -> None:
        """Stop it."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # our child, not reaped: nobody else has its pid
            with contextlib.suppress(ChildProcessError):  # somebody waited for all children
                os.waitpid(self.pid, 0)

    async def _ask(self, arguments: list[str], stdin: int, stdout: int) -> int:
        while len(self._waiting) >= IN_FLIGHT:
            await asyncio.wait(self._waiting.values(), return_when=asyncio.FIRST_COMPLETED)
        channel, number, loop = self._channel or self._start(), str(next(self._numbers)), asyncio.get_running_loop()
        turn: asyncio.Future[int] = loop.create_future()
        if not self._waiting:
            loop.add_reader(channel, self._answered, channel)
        self._waiting[number] = turn
        try:
            request = "\0".join([number, os.environ.get(failpoint.VARIABLE, ""), *arguments]).encode()
            socket.send_fds(channel, [request], [stdin, stdout])
            async with asyncio.timeout(FORK_LIMIT):
                return await turn
        except OSError:
            self._fail(channel)
            raise
        finally:
            self._waiting.pop(number, None)
            if not self._waiting and channel.fileno() >= 0:
                loop.remove_reader(channel)

    def _answered(self, channel: socket.socket) -> None:
        try:
            answer, handles, _, _ = socket.recv_fds(channel, 64, 1)
        except OSError:
            answer, handles = b"", []
        if not answer:
            self._fail(channel)
        elif (turn := self._waiting.pop(answer.decode(), None)) and not turn.done():
            turn.set_result(handles[0])
        else:
            os.close(handles[0])

    def _fail(self, channel: socket.socket) -> None:
        """Discard this fork server: the next request starts another one."""
        if channel is not self._channel:
            return
        asyncio.get_running_loop().remove_reader(channel)
        self.close()
        for turn in self._waiting.values():
            if not turn.done():
                turn.set_exception(ConnectionResetError("the fork server has ended"))
        self._waiting.clear()

    def _start(self) -> socket.socket:
        # No core file of ours, of a keeper or of a service, which inherit it: their memory holds secrets.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", "-S", str(KEEPER), "--fork-server", " " * ROOM]
            actions = [
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_RDWR, 0),
            ]
            self.pid = os.posix_spawn(sys.executable, command, {}, file_actions=actions, setsid=True)
        self._channel = ours
        return ours


fork_server: Final = ForkServer()


async def ask_keeper(arguments: list[str], job: bytes) -> str:
    """Have a keeper started, hand it its job, and wait for its answer.

    Everything happens on the event loop: in a thread each of a dozen calls would wait for the interpreter's lock.

    Returns:
        Its answer; empty when it died before it gave one.

    Raises:
        TimeoutError: there is no answer; it may still do its job later.
    """
    answers, answer = os.pipe()
    try:
        work = _file_of(job)
        try:
            pidfd = await fork_server.fork(arguments, work, answer)
        finally:
            os.close(work)
            os.close(answer)
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                text = b""
                while piece := await _read(answers):
                    text += piece
                if text != b"started":  # it ends now, and nobody will watch it
                    await readable(pidfd)
        except TimeoutError:
            raise TimeoutError(f"its keeper does not answer within {ANSWER_LIMIT:.0f} s") from None
        finally:
            os.close(pidfd)
        return text.decode()
    finally:
        os.close(answers)


def _file_of(data: bytes) -> int:
    """Return a file without a name that holds this: unlike a pipe it takes all of it at once."""
    handle = os.memfd_create("job", os.MFD_CLOEXEC)
    os.write(handle, data)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


async def _read(pipe: int) -> bytes:
    await readable(pipe)
    return os.read(pipe, 4096)


async def readable(handle: int) -> None:
    """Wait until a pipe can be read, or until the process of a pidfd has ended."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(handle)
