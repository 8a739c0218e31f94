"""Tell the watchers of this very process that a folder changed, at once. Standard library only."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_lock = threading.Lock()
_subscribers: list[tuple[str, Callable[[], None]]] = []


@contextlib.contextmanager
def subscribed(folder: Path, hint: Callable[[], None]) -> Iterator[None]:
    """Have `hint` called after each change of the folder that this process announces, from whatever thread."""
    entry = (os.path.realpath(folder), hint)
    with _lock:
        _subscribers.append(entry)
    try:
        yield
    finally:
        with _lock:
            _subscribers.remove(entry)


def announce(folder: Path) -> None:
    """Say that something in the folder changed."""
    path = os.path.realpath(folder)
    with _lock:
        hints = [hint for watched, hint in _subscribers if watched == path]
    for hint in hints:
        hint()
