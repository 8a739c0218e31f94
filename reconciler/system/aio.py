"""Finish work that must not be interrupted once begun, and run work in threads that may be abandoned."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
R = TypeVar("R")


async def run_in_thread_shielded(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function in a thread; raise a cancellation only after it has returned."""
    return await finish_before_cancel(asyncio.to_thread(function, *args, **kwargs))


async def finish_before_cancel(something: Coroutine[None, None, R]) -> R:
    """Wait for something; raise a cancellation only when it is over.

    Otherwise the next pass would observe while the last one still acts.
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


async def run_in_daemon_thread(function: Callable[[], object]) -> None:
    """Run a function in a daemon thread, which nobody waits for when this process ends."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            function()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    await done.wait()


async def until_first(*tasks: asyncio.Task[Any]) -> None:
    """Wait until one of these tasks is done, or the caller is cancelled; then cancel the others, and see them end."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def failure(something: Coroutine[None, None, object]) -> BaseException | None:
    """Run something to its end; return the error that ended it, None if it returned.

    Whatever the error is, it stays here: also an exit of the process that a library asks for. Only a cancellation of
    the caller is raised, once that something has ended too.
    """
    work = asyncio.create_task(_without_exit(something))
    try:
        await asyncio.wait({work})
    except asyncio.CancelledError:
        work.cancel()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # retrieved: nobody else will
        raise
    return asyncio.CancelledError() if work.cancelled() else work.exception()


async def _without_exit(something: Coroutine[None, None, object]) -> None:
    try:
        await something
    except SystemExit as error:  # a task that raises it ends the event loop, and with it the process
        raise RuntimeError(f"an exit with code {error.code}") from error


def first_leaf(error: BaseException) -> BaseException:
    """Return the first error in a group; any other error as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def summary(error: BaseException) -> str:
    """Return an error in a few words, without a traceback and at most 200 characters."""
    found = first_leaf(error)
    if isinstance(found, OSError) and found.strerror:
        return f"{found.strerror.lower()}{f' ({found.filename})' if found.filename else ''}"
    lines = str(found).splitlines()
    return ": ".join(filter(None, (type(found).__name__, lines[0] if lines else "")))[:200]
