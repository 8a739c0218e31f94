"""Follow the history of a home from outside of its controller, by a watch of its folder."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from reconciler.state.history_files import HistoryFollower
from reconciler.system import log, watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.core.history import HistoryRecord
    from reconciler.settings import Settings


def run(settings: Settings, after: int, show: Callable[[Sequence[HistoryRecord]], None]) -> None:
    """Call `show` with the events after an index as they are written. Ends only with an exception."""
    log.use_stderr()
    asyncio.run(_run(settings, after, show))


async def _run(settings: Settings, after: int, show: Callable[[Sequence[HistoryRecord]], None]) -> None:
    news = asyncio.Event()
    watch = asyncio.create_task(watcher.watch(settings.home.controller, news.set, settings.poll))
    try:  # no group of tasks: what `show` raises is to come out as it is
        with contextlib.closing(HistoryFollower(settings.home, after)) as follower:
            while True:
                news.clear()
                if records := list(follower.news()):
                    show(records)
                await news.wait()
    finally:
        watch.cancel()
