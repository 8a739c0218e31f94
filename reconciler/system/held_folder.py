"""Read and write in a folder of somebody else, such as an agent, without ever going through a link of theirs."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from typing import TYPE_CHECKING

from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class HeldFolder:
    """A folder by its descriptor: whatever its path leads to meanwhile, this one is meant."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def read(self, name: str, most: int) -> bytes | None:
        """Return what a regular file says, no more than `most` bytes; None where there is no such file."""
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._handle)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as file:
            return file.read(most) if stat.S_ISREG(os.fstat(handle).st_mode) else None

    def replace(self, name: str, data: bytes, *, keep: str = "") -> None:
        """Replace a file, 0600, or whatever has its name.

        Args:
            name: of the file.
            data: the whole new content.
            keep: the name by which the file that was there stays: who has opened it may still write there.
        """
        temporary = f".{name}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=self._handle), "wb") as file:
            file.write(data)
        if keep:
            self.remove(keep)
            with contextlib.suppress(FileNotFoundError):
                os.link(name, keep, src_dir_fd=self._handle, dst_dir_fd=self._handle, follow_symlinks=False)
        if self._is_folder(name):
            self.remove(temporary)
            raise IsADirectoryError(f"{name} is a folder")
        os.replace(temporary, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link. Raises OSError where something has its name."""
        os.symlink(target, name, dir_fd=self._handle)

    def copy(self, source: Path) -> None:
        """Copy a regular file or a link, as what it is, under its name.

        Raises:
            OSError: it is neither, or something has its name here.
        """
        if source.is_symlink():
            self.link(source.name, str(source.readlink()))
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with (
            files.open_regular(source) as there,
            os.fdopen(os.open(source.name, flags, 0o600, dir_fd=self._handle), "wb") as here,
        ):
            shutil.copyfileobj(there, here)

    def remove(self, name: str) -> None:
        """Remove a file or a link, if there is one."""
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(name, dir_fd=self._handle)

    def _is_folder(self, name: str) -> bool:
        try:
            return stat.S_ISDIR(os.stat(name, dir_fd=self._handle, follow_symlinks=False).st_mode)
        except OSError:
            return False


@contextlib.contextmanager
def held(root: Path, *parts: str) -> Iterator[HeldFolder]:
    """Hold a folder below a root that is ours, made where it is missing; a link on the way is removed.

    Raises:
        OSError: one of them is a file, or cannot be made.
    """
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            below = _child(handle, part)
            os.close(handle)
            handle = below
        yield HeldFolder(handle)
    finally:
        os.close(handle)


def _child(handle: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        return os.open(name, flags, dir_fd=handle)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=handle)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=handle)
    return os.open(name, flags, dir_fd=handle)
