"""Work that must be finished once it is begun, and work in threads that may be broken off.

Belongs here: waiting for what nobody can call back. Does not belong here: the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
R = TypeVar("R")


async def to_the_end(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function in a thread; a cancellation is raised only when it has returned."""
    return await uninterrupted(asyncio.to_thread(function, *args, **kwargs))


async def uninterrupted(something: Coroutine[None, None, R]) -> R:
    """Wait for something; a cancellation is raised only when it is over.

    Else the next pass would look while the last one still acts.
    """
    work = asyncio.ensure_future(something)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # nobody will ask for it any more
        raise


async def until_the_exit(function: Callable[[], object]) -> None:
    """Run a function in a thread that nobody waits for when this process ends."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            function()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    await done.wait()
