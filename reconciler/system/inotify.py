"""Hints that a folder changed.

Belongs here: being woken by the kernel. Does not belong here: finding out what changed (`specfiles`). A hint may be
late, missing, or for nothing.

By inotify itself: it costs nothing while nothing happens and wakes us at once. watchfiles, which the doors wait with,
looks for events every few milliseconds: 0.8 s of processor time a minute for an idle controller (measured). A signal
for each change (F_NOTIFY) is no way either: a thousand at once are more than Python keeps, and the controller hung.
"""

from __future__ import annotations

import asyncio
import errno
import os
from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog
from asyncinotify import Inotify, Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

_EVENTS: Final = (
    Mask.CREATE
    | Mask.MODIFY
    | Mask.CLOSE_WRITE
    | Mask.ATTRIB
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
_GONE: Final = Mask.IGNORED | Mask.MOVE_SELF
_NO_FOLDER: Final = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP}
_GATHER: Final = 0.25
"""Seconds in which changes below folders make one hint: nobody waits for them, and each start of ours makes some."""
_AT_ONCE: Final = 200
"""Events that are taken at once, 30 microseconds each."""

log = structlog.stdlib.get_logger(__name__)


async def watch(folder: Path, hint: Callable[[], None], pause: float) -> None:
    """Call `hint` whenever something in the folder may have changed, until cancelled.

    Args:
        folder: may be missing, and may be replaced.
        hint: called on the event loop.
        pause: seconds between two looks at the folder itself: that another one is in its place makes no event, and on a
            file system of the network nothing does.
    """
    told = ""
    while True:
        found = _look(folder)
        if found is not None:
            try:
                await _watch_one(folder, found, hint, pause)
            except OSError as error:
                told = _tell(error, told)
            else:
                told = ""
            hint()
        if found is None or told:
            await asyncio.sleep(pause)


async def _watch_one(folder: Path, found: os.stat_result, hint: Callable[[], None], pause: float) -> None:
    """While it is this very folder."""
    with Inotify() as inotify:
        inotify.add_watch(folder, _EVENTS)
        hint()  # what happened before we watched
        following = asyncio.create_task(_follow(inotify, hint))
        try:
            while not following.done() and (now := _look(folder)) and os.path.samestat(now, found):
                if now.st_mtime_ns != found.st_mtime_ns:
                    found = now
                    hint()
                await asyncio.wait({following}, timeout=pause)
        finally:
            following.cancel()
            await asyncio.wait({following})  # not the task itself: its cancellation must not hide ours
        if not following.cancelled():
            following.result()


async def _follow(inotify: Inotify, hint: Callable[[], None]) -> None:
    """Until the folder is gone: one made right after it may have its very inode."""
    async for event in inotify:
        hint()
        if event.mask & _GONE:
            return


def _tell(error: OSError, told: str) -> str:
    """Once while it stays the same: a folder is missing, or the user has no inotify instance left."""
    text = str(error)
    if text != told:
        log.warning("watch failed", error=text)
    return text


def _look(folder: Path) -> os.stat_result | None:
    try:
        return folder.stat()
    except OSError:
        return None


async def watch_below(folders: Collection[Path], hint: Callable[[], None], pause: float) -> None:
    """Call `hint` soon after something changed in one of the folders or in a folder in it, until cancelled.

    Args:
        folders: they need not be there yet.
        hint: called on the event loop.
        pause: seconds between two hints where one of them is not there or cannot be watched.
    """
    told = ""
    while True:
        try:
            await _watch_those_below(folders, hint)
        except OSError as error:
            told = _tell(error, told)
            hint()
            await asyncio.sleep(pause)
        else:
            told = ""


async def _watch_those_below(folders: Collection[Path], hint: Callable[[], None]) -> None:
    """Until one of the folders is gone, or more happened than the kernel keeps."""
    await asyncio.sleep(_GATHER)  # those who wait for a start come first
    with Inotify(sync_timeout=0) as inotify:
        tops = [inotify.add_watch(folder, _EVENTS) for folder in folders]
        for path in (path for folder in folders for path in folder.iterdir()):
            _add(inotify, path)
        while True:
            hint()  # at first: what happened before we watched
            event = await inotify.get()
            await asyncio.sleep(_GATHER)
            for each in (event, *islice(inotify, _AT_ONCE)):
                if each.mask & Mask.Q_OVERFLOW:
                    return  # nobody knows what else was lost
                if each.watch not in tops:
                    continue
                if each.mask & _GONE:
                    return
                if each.mask & (Mask.CREATE | Mask.MOVED_TO | Mask.ATTRIB) and each.path:
                    _add(inotify, each.path)


def _add(inotify: Inotify, path: Path) -> None:
    """Watch it too, should it be a folder."""
    try:
        inotify.add_watch(path, _EVENTS)
    except OSError as error:
        if error.errno not in _NO_FOLDER:
            raise
