"""Hints that a folder changed.

Belongs here: being woken by the kernel. Does not belong here: finding out what changed (`specfiles`). A hint may be
late, missing, or for nothing.

The kernel's directory notification (F_NOTIFY) costs nothing while nothing happens and wakes us at once. watchfiles,
used where a kernel has none, looks for events every so many milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import os
import signal
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EVENTS: Final = fcntl.DN_CREATE | fcntl.DN_MODIFY | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_ATTRIB
STEP: Final = 25
"""Milliseconds between two of watchfiles' looks: fewer would cost more than all the rest of an idle controller."""

log = structlog.stdlib.get_logger(__name__)


async def watch(folder: Path, hint: Callable[[], None], pause: float) -> None:
    """Call `hint` whenever something in the folder may have changed, until cancelled.

    Args:
        folder: may be missing, and may be replaced.
        hint: called on the event loop.
        pause: seconds between two looks whether it is still the same folder: there is no event for that.
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGIO, hint)
    try:
        while True:
            identity = _identity(folder)
            if identity is None:
                await asyncio.sleep(pause)
                continue
            hint()  # what happened before we watched
            handle = _notified(folder)
            try:
                if handle is None:
                    await _watch_elsewise(folder, identity, hint, pause)
                else:
                    await _until_replaced(folder, identity, pause)
            finally:
                if handle is not None:
                    os.close(handle)
    finally:
        loop.remove_signal_handler(signal.SIGIO)


def _notified(folder: Path) -> int | None:
    """A descriptor for which the kernel sends SIGIO; None where it cannot."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.fcntl(handle, fcntl.F_NOTIFY, _EVENTS | fcntl.DN_MULTISHOT)
    except OSError:
        os.close(handle)
        return None
    return handle


async def _until_replaced(folder: Path, identity: tuple[int, int], pause: float) -> None:
    while _identity(folder) == identity:  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(pause)


async def _watch_elsewise(folder: Path, identity: tuple[int, int], hint: Callable[[], None], pause: float) -> None:
    watchfiles = importlib.import_module("watchfiles")  # seldom needed, and it takes 18 ms
    stop = asyncio.Event()

    async def end() -> None:
        await _until_replaced(folder, identity, pause)
        stop.set()

    ending = asyncio.create_task(end())
    try:
        async for _ in watchfiles.awatch(
            folder, recursive=False, debounce=50, step=STEP, watch_filter=None, stop_event=stop
        ):
            hint()
    except (OSError, RuntimeError) as error:
        log.warning("watch failed", error=str(error))
        await asyncio.sleep(pause)
    finally:
        ending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ending


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
