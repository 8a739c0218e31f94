"""Run git, ssh-keygen and npm: bounded, cancellable, and without leftovers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from reconciler.system import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MAX_OUTPUT: Final = 8_000_000
"""Bytes kept of each stream; the rest is read and dropped, so that no program blocks on a full pipe."""
GRACE: Final = 2.0
"""Seconds between TERM and KILL of a command that took too long or was cancelled."""
_DEATH: Final = 2.0
"""Seconds for a killed program to be gone: one that waits for a disk or a network file system may take for ever."""
_LAST_WORDS: Final = 1.0
"""Seconds to wait for the end of the output once the program itself has ended."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a command ended."""

    code: int
    out: str
    err: str


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109  the limit covers the whole process group, not just the wait
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run a program to its end.

    Args:
        argv: program and arguments; no shell is involved.
        env: its whole environment.
        timeout: seconds after which its process group is ended.
        cwd: where it runs.
        on_line: called with each line of its standard error, for progress; a carriage return ends a line too.

    Raises:
        TimeoutError: it took too long. Nothing of it is left then, nor after a cancellation, but what even KILL
            cannot end yet: a thread waits for that.
        OSError: it cannot be started.
    """
    child = _Child(argv, env, cwd, on_line)
    try:
        async with asyncio.timeout(timeout):
            await child.begin()
            await child.ended.wait()
            await child.reap()
    except TimeoutError:
        raise TimeoutError(f"{argv[0]} did not end within {timeout:.0f} s") from None
    finally:
        await child.end()
    return Completed(code=child.process.returncode, out=child.out.text, err=child.err.text)


class _Child:
    """A program and its process group.

    Not asyncio's own subprocess: that one reaps the leader early, and then the group's number may be somebody else's by
    the time we signal it.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, on_line: Callable[[str], None] | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.out, self.err = _Output(), _Output(on_line)
        self._pipes: list[asyncio.ReadTransport] = []
        self.process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._unread = [(self.process.stdout, self.out), (self.process.stderr, self.err)]
        try:
            self._handle = os.pidfd_open(self.process.pid)
        except OSError:  # no descriptor is left: nobody would notice its end, nor end it
            self._signal(signal.SIGKILL)
            self._let_go()
            raise
        self._loop.add_reader(self._handle, self._has_ended)

    def _has_ended(self) -> None:
        self._loop.remove_reader(self._handle)
        self.ended.set()

    async def begin(self) -> None:
        """Start reading its output."""
        while self._unread:
            await self._read(*self._unread.pop())

    async def _read(self, pipe: IO[bytes] | None, output: _Output) -> None:
        transport, _ = await self._loop.connect_read_pipe(lambda: output, pipe)
        self._pipes.append(transport)

    async def end(self) -> None:
        """End what is left of the group: nothing, when it ended by itself."""
        try:
            if not self.ended.is_set():
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GRACE):
                        await self.ended.wait()
            self._signal(signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DEATH):
                    await self.ended.wait()
            await asyncio.wait({self.out.closed, self.err.closed}, timeout=_LAST_WORDS)
        finally:
            # Cancelled once more while we waited: what was to be asked politely is ended now.
            self._signal(signal.SIGKILL)
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._let_go()

    async def reap(self) -> None:
        """Reap the program. One that has ended can be reaped at once, unless a debugger holds it."""
        if self.process.poll() is None:
            await aio.run_in_daemon_thread(self.process.wait)

    def _let_go(self) -> None:
        """Close its descriptors. What cannot be reaped yet is left to a thread, since the event loop never waits."""
        if self.process.poll() is None:
            threading.Thread(target=self.process.wait, name=f"reap {self.process.pid}", daemon=True).start()
        for transport in self._pipes:
            transport.close()
        for pipe, _ in self._unread:
            if pipe is not None:
                pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the whole group. Its leader is our own unreaped child, so the number is nobody else's."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class _Output(asyncio.Protocol):
    """The output of one stream."""

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_line = on_line
        self._kept = bytearray()
        self._pending = b""

    @property
    def text(self) -> str:
        return self._kept.decode(errors="replace")

    def data_received(self, data: bytes) -> None:
        self._kept += data[: MAX_OUTPUT - len(self._kept)]
        if self._on_line is None:
            return
        *lines, self._pending = re.split(rb"[\r\n]", self._pending + data)
        for line in lines:
            if line.strip():
                self._on_line(line.decode(errors="replace").strip())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        if not self.closed.done():
            self.closed.set_result(None)
