"""Run the controller in virtual time: waits take none, and work for threads is done at once.

looptime moves the event loop's clock to the next timer whenever nothing else is to do. The executor runs what is handed
to threads inline, so that a run is the same every time.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar
from unittest.mock import patch

import looptime

from reconciler.system import watcher

if TYPE_CHECKING:
    import threading
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


class FakeSilentNotify:
    """Stands for watchfiles, whose thread would not know the time. Changes are announced instead."""

    def __init__(self, *_about: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def watch(self, _debounce: int, _step: int, _timeout: int, stop: threading.Event) -> str:
        """Wait until this is to end, in time that passes."""
        stop.wait()
        return "stop"


def run(main: Coroutine[Any, Any, R]) -> R:
    """Run to the end, in no time."""
    loop = looptime.new_event_loop(start=START)
    try:
        loop.set_default_executor(_Inline())
        with patch.object(watcher, "RustNotify", FakeSilentNotify):
            return loop.run_until_complete(main)
    finally:
        loop.close()
