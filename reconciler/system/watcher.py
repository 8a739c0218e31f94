"""Hints that a folder may have changed, by watchfiles. A hint may be late, missing, or for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from typing import TYPE_CHECKING, Final

import structlog
from watchfiles._rust_notify import RustNotify

from reconciler.system import announcements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from pathlib import Path

STEP: Final = 45
"""Milliseconds between two times that watchfiles asks for events of the specs folder. It reports a change at the second
time, so after one to two steps. With STEP_BELOW, an idle controller used 0.06 s of CPU a minute (measured)."""
STEP_BELOW: Final = 500
"""The same below folders: nobody waits for these hints, and each start makes some."""
_DELETED: Final = 3
"""What watchfiles calls a path that was removed or renamed to another one."""
_ADDED: Final = 1

log = structlog.stdlib.get_logger(__name__)


async def watch(folder: Path, hint: Callable[[], None], pause: float) -> None:
    """Call `hint` whenever something in the folder may have changed, until cancelled.

    What this process itself announces (`announcements`) is hinted at without delay.

    Args:
        folder: may be missing, and may be replaced.
        hint: called on the event loop.
        pause: seconds between two polls of the folder itself: there is no event when one of its parents is replaced,
            and none at all on a network file system.
    """
    loop, said = asyncio.get_running_loop(), ""
    with announcements.subscribed(folder, lambda: _call(loop, hint)):
        while True:
            found = _stat(folder)
            if found is not None:
                try:
                    await _watch_one(folder, found, hint, pause)
                except (OSError, RuntimeError) as error:
                    said = _warn(error, said)
                else:
                    said = ""
                hint()
            if found is None or said:
                await asyncio.sleep(pause)


async def watch_below(folders: Collection[Path], hint: Callable[[], None], pause: float) -> None:
    """Call `hint` soon after something changed in one of the folders or in a folder in it, until cancelled.

    Args:
        folders: they need not be there yet.
        hint: called on the event loop.
        pause: seconds between two hints where one of them is missing or cannot be watched.
    """
    said = ""
    while True:
        try:
            await _watch_those_below(folders, hint, pause)
        except (OSError, RuntimeError) as error:
            said = _warn(error, said)
            hint()
            await asyncio.sleep(pause)
        else:
            said = ""


async def _watch_one(folder: Path, found: os.stat_result, hint: Callable[[], None], pause: float) -> None:
    """Return when another folder is in its place, or none."""
    async with _events([str(folder)], STEP) as events:
        hint()  # what happened before we watched
        while (now := _stat(folder)) and os.path.samestat(now, found):
            if now.st_mtime_ns != found.st_mtime_ns:
                hint()
            found = now
            changes = await _next(events, pause)
            if changes:
                hint()
            if (_DELETED, str(folder)) in changes:
                return  # a folder made right after it may have its very inode


async def _watch_those_below(folders: Collection[Path], hint: Callable[[], None], pause: float) -> None:
    """Return when there are other folders to watch."""
    tops = [folder.stat() for folder in folders]
    watched = _those_below(folders)
    async with _events([*map(str, folders), *watched], STEP_BELOW) as events:
        hint()  # what happened before we watched
        while watched == _those_below(folders):
            changes = await _next(events, pause)
            if changes:
                hint()
            elif not all(map(os.path.samestat, tops, (folder.stat() for folder in folders))):
                return
            gone_or_new = {path for kind, path in changes if kind in {_ADDED, _DELETED}}
            if not gone_or_new.isdisjoint([*map(str, folders), *watched]):
                return  # one of them was replaced, perhaps by one with its very inode


def _those_below(folders: Collection[Path]) -> dict[str, int]:
    """Return the folders in these, each with its inode.

    Raises:
        OSError: one of them is missing or cannot be read.
    """
    found = {}
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # a link that leads nowhere
                    if entry.is_dir():
                        found[entry.path] = entry.inode()
    return found


@contextlib.asynccontextmanager
async def _events(paths: list[str], step: int) -> AsyncIterator[asyncio.Queue[set[tuple[int, str]]]]:
    """Watch these folders, not what is below them, while the context lasts.

    In a thread of its own: watchfiles' `awatch` costs twice as much processor time (measured). It ends within a step,
    and only the end of the process waits for that.

    Raises:
        OSError: one of them cannot be watched.
        RuntimeError: there is no inotify instance left.
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()
    events: asyncio.Queue[set[tuple[int, str]]] = asyncio.Queue()
    notify = RustNotify(paths, False, False, 0, False, True)

    def follow() -> None:
        with notify, contextlib.suppress(RuntimeError):  # what goes wrong inside watchfiles
            while isinstance(changes := notify.watch(1, step, 0, stop), set):
                _call(loop, functools.partial(events.put_nowait, changes))
        _call(loop, functools.partial(events.put_nowait, {(_DELETED, paths[0])}))  # it watches no more

    threading.Thread(target=follow, name="watch").start()
    try:
        yield events
    finally:
        stop.set()


async def _next(events: asyncio.Queue[set[tuple[int, str]]], pause: float) -> set[tuple[int, str]]:
    """Return what happens next; nothing when the pause is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pause):
            return await events.get()
    return set()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call it on the event loop, should that not have ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


def _warn(error: Exception, said: str) -> str:
    """Log an error once while it stays the same: a folder is missing, or the user has no inotify instance left."""
    text = str(error)
    if text != said:
        log.warning("watch failed", error=text)
    return text


def _stat(folder: Path) -> os.stat_result | None:
    try:
        return folder.stat()
    except OSError:
        return None
