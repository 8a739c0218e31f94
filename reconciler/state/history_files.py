"""Read the history of a home, with or without a controller that writes it.

`events.jsonl` is written to; once it is full it gets the index of its first event as a suffix. So the files say
themselves in which order they are, whenever they are renamed or deleted, and each is renamed once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Final

from reconciler.core import history

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from reconciler.core.history import Filter, HistoryRecord
    from reconciler.settings import Home

NAME: Final = "events.jsonl"
MOST: Final = 64 << 20
"""Bytes read of one file, from its end: far more than we ever write into one."""
_OLDER: Final = 1000
"""Events in a row that are older than asked for, after which no newer one is sought: the clock may have been set."""
_RENAMES: Final = 4
"""Times that the file is opened again in one look; another look goes on from there."""


def current(home: Home) -> Path:
    """Return the file that is written to."""
    return home.controller / NAME


def full(home: Home) -> list[Path]:
    """Return the files that are full, the oldest first."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(home.controller) as entries:
        for entry in entries:
            name, _, number = entry.name.rpartition(".")
            if name == NAME and number.isdecimal():
                found[int(number)] = home.controller / entry.name
    return [found[number] for number in sorted(found)]


def _first(path: Path) -> int:
    """Return the index of the first event of a full file."""
    return int(path.suffix[1:])


def latest(home: Home, wanted: Filter | None = None, limit: int | None = None) -> list[HistoryRecord]:
    """Return the newest events, the oldest of them first, each series of repeats as one.

    Blocking: a few milliseconds, and the more the longer it has to search.

    Args:
        home: whose.
        wanted: which; all when not given.
        limit: how many at most.
    """
    wanted = wanted or history.Filter()
    found = history.newest(record for record in _backwards(home, wanted.since) if wanted.matches(record))
    return list(islice(found, limit))[::-1]


def last_index(home: Home) -> int:
    """Return the index of the newest event, 0 where there is none."""
    return next((record.index for record in _backwards(home)), 0)


def _backwards(home: Home, since: str = "") -> Iterator[HistoryRecord]:
    """Return all events, the newest first, back to those of a time."""
    older = 0
    for lines in _contents(home):
        for line in reversed(lines):
            record = history.decode(line)
            if record is None:
                continue  # a line that a power cut has damaged
            if record.time >= since:
                older = 0
                yield record
            elif (older := older + 1) > _OLDER:
                return


def _contents(home: Home) -> Iterator[list[bytes]]:
    """Return the lines of each file, the newest file first; a line that is being written is none yet."""
    seen: set[int] = set()
    yield from _lines(current(home), seen)
    for path in reversed(full(home)):  # listed now: the first one may have been renamed meanwhile
        yield from _lines(path, seen)


def _lines(path: Path, seen: set[int]) -> Iterator[list[bytes]]:
    """Return the lines of a file that was not seen yet, by its inode; nothing where it is gone."""
    with contextlib.suppress(OSError), open(_open(path), "rb") as file:
        about = os.fstat(file.fileno())
        if about.st_ino not in seen:
            seen.add(about.st_ino)
            file.seek(max(0, about.st_size - MOST))
            yield file.read().split(b"\n")[:-1]


def _open(path: Path) -> int:
    """Open a regular file. A pipe that somebody put in its place must not hold us. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
    return handle


class HistoryFollower:
    """Follow what is written, over renames of the file.

    Args:
        home: whose.
        after: the index after which events are of interest.
    """

    def __init__(self, home: Home, after: int = 0) -> None:
        self._home = home
        self.after = after
        """The index of the event that was returned last."""
        self._handle = -1
        self._position = 0

    def close(self) -> None:
        """Stop following."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def news(self) -> Iterator[HistoryRecord]:
        """Return the events that were written since the last call, the oldest first."""
        for _ in range(_RENAMES):
            yield from self._rest()
            if not self._is_renamed():
                return
            yield from self._rest()  # what was written before it was renamed, and after we read
            yield from self._reopen()

    def _reopen(self) -> Iterator[HistoryRecord]:
        """Open the file that is written to; return what lies between ours and that one."""
        self.close()
        self._position = 0
        with contextlib.suppress(OSError):
            self._handle = _open(current(self._home))
        if last_index(self._home) < self.after:
            self.after = 0  # somebody has deleted the history, and a new one began
        paths = full(self._home)  # listed after the other was opened: so none between them is missed
        for path, following in zip_longest(paths, paths[1:]):
            if following is None or _first(following) > self.after + 1:
                for lines in _lines(path, set()):
                    yield from self._new(lines)

    def _rest(self) -> Iterator[HistoryRecord]:
        """Return what the open file holds beyond our position, up to the last whole line."""
        if self._handle >= 0:
            more = os.fstat(self._handle).st_size - self._position
            block = os.pread(self._handle, max(more, 0), self._position)
            end = block.rfind(b"\n") + 1
            self._position += end
            yield from self._new(block[:end].split(b"\n"))

    def _new(self, lines: Iterable[bytes]) -> Iterator[HistoryRecord]:
        for line in lines:
            record = history.decode(line)
            if record is not None and record.index > self.after:
                self.after = record.index
                yield record

    def _is_renamed(self) -> bool:
        """Return whether the open file, if any, is not the one that is written to."""
        try:
            there = current(self._home).stat()
        except OSError:
            return self._handle < 0
        return self._handle < 0 or not os.path.samestat(there, os.fstat(self._handle))
