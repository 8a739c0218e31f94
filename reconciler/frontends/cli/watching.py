"""Show something again whenever it changes, until Ctrl-C."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.frontends.cli import terminal
from reconciler.state import published
from reconciler.system.changes import changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reconciler.settings import Settings


def ticks(path: Path) -> Iterator[object]:
    """Yield at once, and then as `changes` does. A folder that is not there yet is polled."""
    yield None
    yield from changes(next(folder for folder in (path, *path.parents) if folder.is_dir()))


def repeat(settings: Settings, show: Callable[[], int], *, always: bool = False) -> int:
    """Show now, and again whenever the published status changes.

    Args:
        settings: where.
        show: prints, and returns the exit code.
        always: also every `changes.POLL`, for what changes without a new status.
    """
    shown = published.read(settings.home).written
    code = show()
    sys.stdout.flush()  # into a pipe, nothing would be seen for a long time
    for _ in ticks(settings.home.root):
        written = published.read(settings.home).written
        if always or written != shown:
            shown = written
            sys.stdout.write("\033[H\033[2J" if terminal.is_terminal(sys.stdout) else "\n")
            code = show()
            sys.stdout.flush()
    return code
