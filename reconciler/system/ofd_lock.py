"""Locks on open files that a process can also only ask about. Standard library only: every keeper has it.

Open-file-description locks (`F_OFD_SETLK`): anybody can ask who holds one without touching it, which flock(2) cannot,
and a process that inherits the descriptor holds it too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_FLOCK = "hhqqi4x"
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""


def take(handle: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file; return False where somebody else is in the way.

    Raises:
        OSError: this file system has no locks.
    """
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, 0, 0, 0, 0))
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def same_file(path: str, handle: int) -> bool:
    """Return whether the path leads to the open file: a lock file that was deleted would allow two holders."""
    try:
        there, here = os.stat(path), os.fstat(handle)  # noqa: PTH116  pathlib would cost every keeper half a megabyte
    except OSError:
        return False
    return there.st_ino == here.st_ino and there.st_dev == here.st_dev


def held(path: str) -> bool:
    """Return whether anybody holds the lock on this file. Asking changes nothing."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
    finally:
        os.close(handle)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
