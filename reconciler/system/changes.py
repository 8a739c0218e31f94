"""Wait for changes in a folder, in a program that has nothing else to do."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEBOUNCE: Final = 100
"""Milliseconds in which changes are gathered."""
POLL: Final = 1000
"""Milliseconds after which there may have been one without an event."""


def changes(folder: Path) -> Iterator[object]:
    """Yield at each change and every `POLL`: a change before the watch stands would else be seen too late."""
    watchfiles = importlib.import_module("watchfiles")  # 17 ms, which a program that does not watch need not wait for
    found: Iterator[object] = watchfiles.watch(
        folder, recursive=False, debounce=DEBOUNCE, rust_timeout=POLL, yield_on_timeout=True
    )
    return found
