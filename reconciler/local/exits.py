"""Noticing at once that a service or its keeper ended, whoever's child it is.

Belongs here: pidfds on the event loop. Does not belong here: what an end means (`processes.observe` is asked again).
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from reconciler.local import proofs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class ExitWatch:
    """Watches leaders and keepers. Must be made inside a running event loop.

    Args:
        callback: called with the name given to `watch`, once for each process that ends.
    """

    def __init__(self, callback: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._watched: dict[tuple[str, int, int], int] = {}

    def watch(self, name: str, run_dir: Path, service: str) -> None:
        """Watch what lives of a service now; what is watched already stays so. Cheap enough for every pass."""
        place = proofs.Place(os.path.realpath(run_dir), service)
        run = proofs.read_record(place.run)
        if not run or run["boot_id"] != proofs.boot_id():
            return
        for who, needle in ((run["leader"], run["marker"]), (run["keeper"], place.folder)):
            key = (name, who["pid"], who["inode"])
            if key in self._watched or (pidfd := proofs.open_proved(who, needle)) is None:
                continue
            self._watched[key] = pidfd
            self._loop.add_reader(pidfd, self._ended, key)

    def close(self) -> None:
        """Watch nothing any more."""
        for key in list(self._watched):
            self._forget(key)

    def _ended(self, key: tuple[str, int, int]) -> None:
        self._forget(key)
        self._callback(key[0])

    def _forget(self, key: tuple[str, int, int]) -> None:
        pidfd = self._watched.pop(key)
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
