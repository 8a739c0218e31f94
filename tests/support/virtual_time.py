"""Run the controller in virtual time: waits take none, and work for threads is done at once.

looptime moves the event loop's clock to the next timer whenever nothing else is to do. The executor runs what is handed
to threads inline, so that a run is the same every time.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import looptime

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
R = TypeVar("R")

START: Final = 1000.0
"""Seconds on the loop's clock when a run begins."""


class _Inline(ThreadPoolExecutor):
    """Runs what is submitted before it returns."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  whatever it is, the one who waits gets it
            future.set_exception(error)
        return future


def run(main: Coroutine[Any, Any, R]) -> R:
    """Run to the end, in no time."""
    loop = looptime.new_event_loop(start=START)
    try:
        loop.set_default_executor(_Inline())
        return loop.run_until_complete(main)
    finally:
        loop.close()
