"""Read a log from its end, and follow it over rotations."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
from typing import TYPE_CHECKING, Final

from reconciler.system.changes import changes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

BLOCK: Final = 1 << 16
"""Bytes read at a time."""
OLD_LOGS: Final = 3
"""Numbered ones, of which `LOG.1` is the newest."""
_MARK: Final = 4096
"""Bytes by which we know where we were."""
_HEAD: Final = 1 << 20
"""Bytes at the beginning of a log that was cut in which that place is sought."""


def read(path: Path, lines: int, *, follow: bool) -> Generator[bytes, None, None]:
    """Yield the last lines, in pieces, and with `follow` what is added, until it is closed.

    Raises:
        OSError: the log cannot be read, or is none.
    """
    log = os.open(path, os.O_RDONLY)
    if stat.S_ISDIR(os.fstat(log).st_mode):  # which can be opened, but not read
        os.close(log)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    follower = Follower(path, log)
    with contextlib.closing(follower):
        yield from last_lines(path, log, follower.position, lines)
        if follow:
            for _ in changes(path.parent):
                yield from follower.news()


def last_lines(path: Path, log: int, size: int, lines: int) -> Iterator[bytes]:
    """Return the last lines in pieces, including those already moved into old logs.

    Args:
        path: the log's name, after which old ones are numbered.
        log: a descriptor of it.
        size: how much of it counts, in bytes.
        lines: how many.
    """
    if lines <= 0:
        return
    with contextlib.ExitStack() as stack:
        logs = [log]
        ends = int(size > 0 and os.pread(log, 1, size - 1) == b"\n")
        begin, missing = _search_back(log, size, lines + ends)
        for number in range(1, OLD_LOGS + 1):
            if not missing:
                break
            try:
                old = stack.enter_context(path.with_name(f"{path.name}.{number}").open("rb", buffering=0))
            except OSError:
                break
            logs.append(old.fileno())
            begin, missing = _search_back(old.fileno(), os.fstat(old.fileno()).st_size, missing)
        for each in reversed(logs):
            yield from pieces(each, begin, size if each == log else None)
            begin = 0


def _search_back(log: int, end: int, newlines: int) -> tuple[int, int]:
    """Find where the line after so many newlines from the end begins, and how many are missing if the log has less."""
    while end > 0:
        begin = max(0, end - BLOCK)
        block = os.pread(log, end - begin, begin)
        if (count := block.count(b"\n")) >= newlines:
            at = len(block)
            for _ in range(newlines):
                at = block.rfind(b"\n", 0, at)
            return begin + at + 1, 0
        newlines, end = newlines - count, begin
    return 0, newlines


def pieces(log: int, begin: int, end: int | None = None) -> Iterator[bytes]:
    """Return what stands from there to the end, or to another place, piece by piece."""
    while piece := os.pread(log, BLOCK if end is None else min(BLOCK, end - begin), begin):
        yield piece
        begin += len(piece)


class Follower:
    """Follow what is appended to a log, whatever rotates it.

    Args:
        path: its name.
        log: a descriptor of it, which is closed with this.
    """

    def __init__(self, path: Path, log: int) -> None:
        self._path = path
        self._log = log
        self.position = os.fstat(log).st_size
        """Bytes of it that were dealt with."""
        self._seen = b""
        self._remember()

    def close(self) -> None:
        """Stop following."""
        os.close(self._log)

    def news(self) -> Iterator[bytes]:
        """Return what was added, piece by piece."""
        if self._was_cut():
            yield from self._find_again()
        for piece in pieces(self._log, self.position):
            self.position += len(piece)
            yield piece
        self._remember()
        if self._is_replaced():
            yield from self.news()

    def _was_cut(self) -> bool:
        """Tell whether what stood before our position is gone."""
        begin = self.position - len(self._seen)
        return os.pread(self._log, len(self._seen), begin) != self._seen

    def _remember(self) -> None:
        begin = max(0, self.position - _MARK)
        self._seen = os.pread(self._log, self.position - begin, begin)

    def _find_again(self) -> Iterator[bytes]:
        """Return what we missed of the part that was moved into an old log, and continue in the rest."""
        self.position = 0
        with contextlib.suppress(OSError, ValueError), self._path.with_name(f"{self._path.name}.1").open("rb") as old:
            with mmap.mmap(old.fileno(), 0, prot=mmap.PROT_READ) as text:
                at, tail = text.rfind(self._seen), text[-len(self._seen) :]
            if at >= 0:
                yield from pieces(old.fileno(), at + len(self._seen))
                return
            at = (tail + os.pread(self._log, _HEAD, 0)).find(self._seen)
            self.position = max(0, at + len(self._seen) - len(tail)) if at >= 0 else 0

    def _is_replaced(self) -> bool:
        """Tell whether another file has the log's name and is written to; if so, follow that one."""
        try:
            other = os.open(self._path, os.O_RDONLY)
        except OSError:
            return False
        named, ours = os.fstat(other), os.fstat(self._log)
        if os.path.samestat(named, ours) or not named.st_size:
            os.close(other)
            return False
        os.close(self._log)
        self._log, self.position, self._seen = other, 0, b""
        return True
