"""Being the one controller of a home.

Belongs here: taking the lead, waiting for it, and keeping it when somebody deletes the lock file.
Does not belong here: what the leader does.

Two marks say the same: a lock file, which others can wait for, and a name that cannot be deleted (`guards`). The name
decides; the file is made again when it is gone.
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
    """The lead of one home, held until closed or until this process ends, however it ends.

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
                self._guard = name_lock.take(os.path.realpath(folder), "controller")
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
        """Make the lock file again should it be gone, so that others can wait for it."""
        if not self._lock.valid():
            with contextlib.suppress(LockHeld, OSError):  # held for a moment by one who is about to be refused
                again = LockFile(self._path)
                self._lock.close()
                self._lock = again

    def close(self) -> None:
        """Let go."""
        self._guard.close()
        self._lock.close()
