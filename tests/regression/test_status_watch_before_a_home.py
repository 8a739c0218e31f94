"""`status --watch` may be the first thing that anybody does."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.test_cli import spawned, until_line

if TYPE_CHECKING:
    import subprocess

    from tests.support.world import World


def until_it_watches(program: subprocess.Popen[str]) -> None:
    """Until it has a watch of the file system, or has ended."""
    handles = Path(f"/proc/{program.pid}/fd")
    while program.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # ended, or closed between the list and the look
            if any("inotify" in str(handle.readlink()) for handle in handles.iterdir()):
                return
        os.sched_yield()


def test_a_watch_that_began_before_there_is_a_home_shows_what_comes(world: World) -> None:
    """No controller has ever run: it waits for one."""
    with spawned(world, "status", "--watch") as program:
        until_line(program, "There are no projects yet")
        until_it_watches(program)
        world.light("app", state="stopped")
        world.start()

        until_line(program, "Stopped")
