"""Hints that a folder changed.

Belongs here: being woken by the kernel. Does not belong here: finding out what changed (`specfiles`). A hint may be
late, missing, or for nothing.

By inotify itself: it costs nothing while nothing happens and wakes us at once. watchfiles, which the doors wait with,
looks for events every few milliseconds: 0.8 s of processor time a minute for an idle controller (measured). A signal
for each change (F_NOTIFY) is no way either: a thousand at once are more than Python keeps, and the controller hung.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from asyncinotify import Inotify, Mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EVENTS: Final = (
    Mask.CREATE
    | Mask.MODIFY
    | Mask.CLOSE_WRITE
    | Mask.ATTRIB
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.ONLYDIR
)

log = structlog.stdlib.get_logger(__name__)


async def watch(folder: Path, hint: Callable[[], None], pause: float) -> None:
    """Call `hint` whenever something in the folder may have changed, until cancelled.

    Args:
        folder: may be missing, and may be replaced.
        hint: called on the event loop.
        pause: seconds between two looks whether it is still the same folder: there is no event for that.
    """
    while True:
        identity = _identity(folder)
        if identity is not None:
            try:
                await _watch_one(folder, identity, hint, pause)
            except OSError as error:  # the user has no inotify instance left: what looks at all files finds it too
                log.warning("watch failed", error=str(error))
        await asyncio.sleep(pause)


async def _watch_one(folder: Path, identity: tuple[int, int], hint: Callable[[], None], pause: float) -> None:
    """While it is this very folder."""
    with Inotify() as inotify:
        inotify.add_watch(folder, _EVENTS)
        hint()  # what happened before we watched
        following = asyncio.create_task(_follow(inotify, hint))
        try:
            while _identity(folder) == identity:
                done, _ = await asyncio.wait({following}, timeout=pause)
                for task in done:
                    task.result()
        finally:
            following.cancel()
            await asyncio.wait({following})  # not the task itself: its cancellation must not hide ours
            if not following.cancelled():
                following.exception()


async def _follow(inotify: Inotify, hint: Callable[[], None]) -> None:
    async for _ in inotify:
        hint()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
