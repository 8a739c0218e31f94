"""Keep a log that another process appends to below its limit.

The writer holds the log open to append, so renaming it would change nothing. Where the file system can remove blocks at
the beginning of a file (ext4, XFS, F2FS), no byte is ever lost. Elsewhere the log is emptied right after its end was
copied: what is written in the microseconds between is lost, as with every tool that copies and truncates. Standard
library only, imports nothing of ours.
"""
# pathlib would cost every keeper half a megabyte:
# ruff: noqa: PTH104

from __future__ import annotations

import contextlib
import ctypes
import errno
import os

LOG_LIMIT = 10_000_000
"""Bytes of a log that are kept, and of each old one; a log that grows beyond it is cut."""
LOGS_KEPT = 3
"""Old logs: `LOG.1` is the newest."""
_COLLAPSE_RANGE = 0x08
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def cap(path: str, log: int) -> int:
    """Move the last bytes of a log, LOG_LIMIT at most, into `path.1`, and remove them and all before them from it.

    Args:
        path: the log's name; old ones are numbered after it.
        log: the log, open to read and to write.

    Returns:
        How many bytes were removed.

    Raises:
        OSError: the log cannot be cut. (One that cannot be copied is cut nevertheless: new lines are worth more.)
    """
    copy = _open_copy(path)
    try:
        size, block = os.fstat(log).st_size, os.fstatvfs(log).f_bsize
        end = (size - 1) // block * block  # whole blocks can be removed, and never the last
        if end <= 0 or not _can_collapse(log):
            return _empty(copy, log, max(0, size - LOG_LIMIT // 2))
        _copy(copy, log, max(0, end - LOG_LIMIT), end)
        return end if _collapse(log, end) else _empty(copy, log, end)
    finally:
        if copy is not None:
            os.close(copy)


def _empty(copy: int | None, log: int, begin: int) -> int:
    """Copy from there to the end, then what was written meanwhile, as long as that is not too much; empty the file."""
    end, room = os.fstat(log).st_size, LOG_LIMIT
    while begin < end and end - begin <= room:
        room -= _copy(copy, log, begin, end)
        begin, end = end, os.fstat(log).st_size
    os.ftruncate(log, 0)
    return end


def _open_copy(path: str) -> int | None:
    """Rotate the old logs and open the next one; None when that is impossible."""
    try:
        for number in range(LOGS_KEPT - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}.{number}", f"{path}.{number + 1}")
        return os.open(f"{path}.1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        return None


def _copy(copy: int | None, log: int, begin: int, end: int) -> int:
    """Copy this part of the log as far as there is room; return how many bytes were copied."""
    offset = begin
    if copy is not None:
        with contextlib.suppress(OSError):  # the disk is full
            while offset < end and (sent := os.sendfile(copy, log, offset, end - offset)):
                offset += sent
    return end - begin


def _can_collapse(log: int) -> bool:
    """Tell whether its file system can remove the beginning of a file: then a single byte is an invalid length."""
    return not _collapse(log, 1) and ctypes.get_errno() == errno.EINVAL


def _collapse(log: int, length: int) -> bool:
    """Remove the beginning of a file, which moves the rest down; return whether that was done."""
    failed: int = _fallocate(log, _COLLAPSE_RANGE, 0, length)
    return not failed
