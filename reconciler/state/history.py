"""Write the history of a home: `opencode-controller/events.jsonl`, in four files of 4 MB at most.

Only the controller that leads writes. What was written survives a kill of this process at any moment: a line that was
torn is dropped when the file is opened again. It is not synced to disk: a power cut may lose what was written in the
last half minute or so, and then the indexes of those events are given again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from typing import TYPE_CHECKING, Final

import structlog

from reconciler.core import history
from reconciler.core.history import CONTROLLER, Repeats, Type
from reconciler.state import history_files
from reconciler.system import ofd_lock
from reconciler.system.log import redact_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from reconciler.core.history import Author, HistoryRecord, KeyChange
    from reconciler.core.reasons import Reason
    from reconciler.settings import Home

FULL: Final = 4 << 20
"""Bytes of one file."""
KEPT: Final = 3
"""Full files kept beside the one that is written to."""
WAITING: Final = 10_000
"""Events kept in memory while they cannot be written; beyond that, the oldest are lost."""

_TAIL: Final = 1 << 20
"""Bytes at the end of the file in which the last whole line is sought."""

log = structlog.stdlib.get_logger(__name__)


class History:
    """Appends events. On an event loop those of one turn are written at once, in one write.

    Args:
        home: whose; its folders are there.
        clock: wall clock, seconds since the epoch.
        size: bytes of one file.
    """

    def __init__(self, home: Home, *, clock: Callable[[], float] = time.time, size: int = FULL) -> None:
        self._home = home
        self._path = history_files.current(home)
        self._clock = clock
        self._size = size
        self._repeats = Repeats()
        self._waiting: list[tuple[int, bytes]] = []
        """Indexes and lines that are in no file yet."""
        self._due = False
        """Whether a write is due at the end of this turn of the event loop."""
        self._problem = ""
        self._followers: set[asyncio.Event] = set()
        self._handle, self._length = -1, 0
        self._first = 0
        """Index of the first event of the file."""
        self._index = history_files.last_index(home)

    @property
    def index(self) -> int:
        """Return the index of the newest event."""
        return self._index

    def record(  # noqa: PLR0913  the fields of an event
        self,
        reason: Reason,
        project: str = "",
        message: str = "",
        *,
        kind: Type = Type.NORMAL,
        author: Author = CONTROLLER,
        cause: str = "",
        generation: int = 0,
        revision: str = "",
        changes: tuple[KeyChange, ...] = (),
    ) -> HistoryRecord:
        """Append one event; on the thread of the event loop where one runs. Never raises because of the disk.

        Args:
            reason: what happened.
            project: whose; empty: the controller's own.
            message: a clause or a sentence, without any secret.
            kind: whether something is wrong.
            author: who did it.
            cause: why, where that is more than the reason.
            generation: of the project's spec.
            revision: of the source of the specs.
            changes: of the spec.

        Returns:
            It, with its index, and how often the same has happened.
        """
        self._index += 1
        made = history.make(
            history.iso(self._clock()),
            reason,
            index=self._index,
            project=project,
            message=redact_text(message),
            type=kind,
            author=author,
            cause=redact_text(cause),
            generation=generation,
            revision=revision,
            changes=changes,
        )
        record = self._repeats.fold(made)
        self._waiting.append((self._index, history.encode(record)))
        self._write_soon()
        return record

    def _write_soon(self) -> None:
        """Write at the end of this turn of the event loop, or now where none runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            if not self._due:
                self._due = True
                loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits, and wake those who follow. What cannot be written is tried again with the next event."""
        self._due = False
        try:
            while self._waiting:
                self._make_room(len(self._waiting[0][1]))
                self._write(self._fitting())
        except OSError as error:
            self._close()
            del self._waiting[:-WAITING]
            self._warn(f"cannot write {self._path}: {(error.strerror or str(error)).lower()}")
        else:
            self._warn("")
        for news in self._followers:
            news.set()

    def close(self) -> None:
        """Write what waits."""
        self.flush()
        self._close()

    async def follow(self, after: int = 0) -> AsyncGenerator[HistoryRecord]:
        """Yield the events after this index, then each as it is written, until closed.

        Args:
            after: the index of the last one that is known.
        """
        self.flush()  # else an index that is known, and in no file yet, would be that of an older history
        news, follower = asyncio.Event(), history_files.HistoryFollower(self._home, after)
        self._followers.add(news)
        try:
            while True:
                news.clear()
                for record in await asyncio.to_thread(list, follower.news()):
                    yield record
                await news.wait()
        finally:
            self._followers.discard(news)
            follower.close()

    # -- the file --------------------------------------------------------------------------------------------------

    def _make_room(self, needed: int) -> None:
        """Have the file open, with room for so many bytes: a full one is renamed."""
        if self._handle < 0 or not ofd_lock.same_file(str(self._path), self._handle):
            self._close()  # perhaps somebody has deleted it: a new one goes on with the next index
            self._open()
        if self._length and self._length + needed > self._size:
            self._path.rename(f"{self._path}.{self._first}")
            for path in history_files.full(self._home)[:-KEPT]:
                path.unlink(missing_ok=True)
            self._close()
            self._open()

    def _fitting(self) -> int:
        """Return how many of the waiting lines fit into the file; at least one."""
        room = self._size - self._length
        for count, (_, line) in enumerate(self._waiting):
            room -= len(line)
            if room < 0:
                return max(count, 1)
        return len(self._waiting)

    def _write(self, count: int) -> None:
        """Append so many of the waiting lines, or none of them."""
        data = b"".join(line for _, line in self._waiting[:count])
        if os.pwrite(self._handle, data, self._length) < len(data):
            os.ftruncate(self._handle, self._length)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._first = self._first or self._waiting[0][0]
        self._length += len(data)
        del self._waiting[:count]

    def _open(self) -> None:
        """Open the file that is written to, without the line that a kill or a power cut has torn."""
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        size = os.fstat(self._handle).st_size
        begin = max(0, size - _TAIL)
        self._length = begin + _whole(os.pread(self._handle, _TAIL, begin))
        os.ftruncate(self._handle, self._length)
        first = history.decode(os.pread(self._handle, _TAIL, 0).partition(b"\n")[0]) if self._length else None
        self._first = first.index if first else self._length and self._index

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _warn(self, problem: str) -> None:
        """Log a problem once while it stays the same."""
        if problem and problem != self._problem:
            log.warning("history not written", error=problem)
        self._problem = problem


def _whole(tail: bytes) -> int:
    """Return how many bytes at the end of a file are to be kept: up to the last line that holds an event."""
    end = tail.rfind(b"\n") + 1
    while end and history.decode(tail[tail.rfind(b"\n", 0, end - 1) + 1 : end]) is None:
        end = tail.rfind(b"\n", 0, end - 1) + 1
    return end
