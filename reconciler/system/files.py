"""Replace files atomically, and hold locks that tell who is alive."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Final

from reconciler.system import ofd_lock

MOST: Final = 2**26
"""Bytes of a file that is read whole: an agent can make one that has more than this machine has memory."""


def replace_file(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True, named: bool = True) -> None:
    """Replace a file's content atomically: a reader sees the old or the new, a crash leaves one of them.

    Args:
        path: the file; its folder must exist.
        data: the whole new content.
        mode: permissions, from the first instant.
        durable: one of the two is also there after a power cut (fsync); False for what can be derived again.
        named: and it is the new one (fsync of the folder too, which doubles the time).
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable and named:
        sync(path.parent)


def keep_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a derivable file unless it is already as it must be: comparing takes a tenth of the time."""
    with contextlib.suppress(OSError):
        if path.lstat().st_mode == stat.S_IFREG | mode and path.read_bytes() == data:
            return
    replace_file(path, data, mode=mode, durable=False)


def sync(path: Path) -> None:
    """Sync a file's content, or the renames in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_regular(path: Path) -> BinaryIO:
    """Open a file where an agent can write: through no link, and a pipe does not keep us waiting for ever.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: Path, most: int = MOST) -> bytes:
    """Return what such a file says, no more than `most` bytes. Raises OSError, as `open_regular`."""
    with open_regular(path) as file:
        return file.read(most)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None when it is missing, unreadable or not a whole JSON object."""
    try:
        data = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def expanded(path: str) -> Path:
    """Return the path with a leading `~` replaced; unchanged where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  pathlib raises there


def private_folder(path: Path) -> Path:
    """Create this folder (and its parents), readable by its owner alone."""
    for folder in (*reversed(path.parents), path):  # pathlib would leave the mode of parents to the umask
        if folder == path or not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


class LockHeld(Exception):  # noqa: N818  a state, not a failure
    """Somebody else holds the lock."""


class LockFile:
    """Hold an exclusive lock on a file until closed, or until this process ends in any way.

    The descriptor is close-on-exec, so children never keep it.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            taken = ofd_lock.take(self._handle, wait=wait) and self.valid()
        except BaseException:
            os.close(self._handle)
            raise
        if not taken:
            os.close(self._handle)
            raise LockHeld

    def valid(self) -> bool:
        """Tell whether the file at the path is still the locked one: a deleted lock file would allow two holders."""
        return ofd_lock.same_file(str(self.path), self._handle)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._handle)


def blocks(folder: Path) -> int:
    """Return the bytes that files below a folder take on disk, those with several names once. Follows no link."""
    total, seen, left = 0, set[tuple[int, int]](), [str(folder)]
    while left:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                about = entry.stat(follow_symlinks=False)
                if about.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                    if (about.st_dev, about.st_ino) in seen:
                        continue
                    seen.add((about.st_dev, about.st_ino))
                total += about.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
    return total


def lock_held(path: Path) -> bool:
    """Tell whether anybody holds the lock on this file, without changing anything."""
    return ofd_lock.held(str(path))
