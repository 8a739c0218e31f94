"""Notice at once that a service or its keeper ended, whosever child it is: pidfds on the event loop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from reconciler.engines.local.keeper import identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEEPERS_TIME: Final = 0.02
"""Seconds after its leader's end in which a keeper is expected to end too: mostly it takes 1 ms, and as long as it is
there nothing can be started again, so to look before that would be in vain."""


class ExitWatch:
    """Watch leaders and keepers. Must be made inside a running event loop.

    Args:
        callback: called with the name given to `watch` when a keeper ends, or a leader whose keeper goes on.
    """

    def __init__(self, callback: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._watched: dict[tuple[str, int, int], int] = {}
        """Pidfds by project, pid and inode."""
        self._pids: set[tuple[str, int]] = set()
        self._expected: dict[str, asyncio.TimerHandle] = {}
        """Projects of which a leader ended a moment ago."""

    def watch(self, name: str, run_dir: Path, service: str) -> None:
        """Watch what lives of a service now; what is watched already stays so."""
        place = identity.RunFiles(identity.real_folder(str(run_dir)), service)
        run = identity.read_record(place.run)
        if not run or run["boot_id"] != identity.boot_id():
            return
        for who, needle, patience in (
            (run["leader"], run["marker"], KEEPERS_TIME),
            (run["keeper"], place.folder, 0.0),
        ):
            key = (name, who["pid"], who["inode"])
            if key in self._watched or (pidfd := identity.open_verified(who, needle)) is None:
                continue
            self._watched[key] = pidfd
            self._pids.add(key[:2])
            self._loop.add_reader(pidfd, self._ended, key, patience)

    def watches(self, name: str, *pids: int | None) -> bool:
        """Tell whether all of these are watched already, as far as pids can tell: ended ones go in a moment."""
        return all(pid is None or (name, pid) in self._pids for pid in pids)

    def close(self) -> None:
        """Stop watching."""
        for timer in self._expected.values():
            timer.cancel()
        for key in list(self._watched):
            self._forget(key)

    def _ended(self, key: tuple[str, int, int], patience: float) -> None:
        self._forget(key)
        name = key[0]
        if timer := self._expected.pop(name, None):
            timer.cancel()
        if patience:
            self._expected[name] = self._loop.call_later(patience, self._notify, name)
        else:
            self._callback(name)

    def _notify(self, name: str) -> None:
        self._expected.pop(name, None)
        self._callback(name)

    def _forget(self, key: tuple[str, int, int]) -> None:
        pidfd = self._watched.pop(key)
        self._pids.discard(key[:2])
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
