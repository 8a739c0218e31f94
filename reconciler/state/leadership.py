"""Be the only controller of a home.

Two locks say so: a lock file, which others can wait for, and an abstract socket name, which cannot be deleted. The name
decides if who has it holds the file too; the file is created again when it is gone.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final

from reconciler.system import name_lock
from reconciler.system.files import LockFile, LockHeld

if TYPE_CHECKING:
    from pathlib import Path

AGAIN: Final = 0.5
"""Seconds until the leader has made a deleted lock file again, or is asked again: there is no event for that."""


class Leadership:
    """Lead one home until closed, or until this process ends in any way.

    Args:
        folder: the controller's folder in the home.
        wait: until the one who leads now is gone.

    Raises:
        LockHeld: another controller leads.
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        self._path = folder / "lock"
        patience = threading.Event()
        while True:
            try:
                self._lock = LockFile(self._path, wait=wait)
                real = os.path.realpath(folder)
                self._guard = name_lock.take(real, "controller", f"{real}/{self._path.name}")
            except LockHeld:
                if not wait:
                    raise
            except name_lock.Taken:
                self._lock.close()
                if not wait:
                    raise LockHeld from None
                patience.wait(AGAIN)
            else:
                return

    def keep(self) -> None:
        """Create the lock file again if it is gone, so that others can wait for it."""
        if not self._lock.valid():
            with contextlib.suppress(LockHeld, OSError):  # held for a moment by one who is about to be refused
                again = LockFile(self._path)
                self._lock.close()
                self._lock = again

    def close(self) -> None:
        """Release both locks."""
        self._guard.close()
        self._lock.close()
