"""Serve MCP over stdin and stdout."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Final

import watchfiles

from reconciler.frontends.mcp import stdio
from reconciler.state import published
from reconciler.system import files

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings

_PATIENCE: Final = 10.0
"""Seconds that a new controller gets before the front end goes on without it."""
_LOG_LIMIT: Final = 1_000_000
"""Bytes."""
_LOOK: Final = 50
"""Milliseconds between two checks whether it leads: taking a lock is no event."""


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("For clients that start their servers; starts a controller if none is running.", "mcp")


def run(settings: Settings, _options: Namespace) -> int:
    """Serve MCP on stdin and stdout; start a controller if none runs."""
    stdio.end_with_client()
    if not published.read(settings.home).running:
        start_controller(settings)
        _until_led(settings)
    stdio.serve(settings)
    return 0


def start_controller(settings: Settings) -> None:
    """Start a controller in its own session, which outlives this process. Of two started at once, one leads."""
    files.private_folder(settings.home.controller)
    with open_detached_log(settings.home.controller) as out:
        subprocess.Popen(
            [sys.executable, "-P", "-m", "reconciler", "--specs", str(settings.specs), "run", "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def open_detached_log(folder: Path) -> IO[bytes]:
    """Open the log of controllers without a terminal, which is short; a log that has grown is rotated first."""
    path = folder / "detached.log"
    with contextlib.suppress(OSError):
        if path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_name("detached.log.1"))
    return path.open("ab")


def _until_led(settings: Settings) -> None:
    """Wait until a controller leads; otherwise the first call would say that none is running."""
    deadline = time.monotonic() + _PATIENCE
    folder = settings.home.controller
    for _ in watchfiles.watch(folder, rust_timeout=_LOOK, debounce=_LOOK, step=10, yield_on_timeout=True):
        if published.read(settings.home).running or time.monotonic() > deadline:
            return
