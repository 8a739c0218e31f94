"""MCP on stdin and stdout, for a client that starts its servers: the same tools as over HTTP.

It keeps nothing that needs cleaning up, so it may end at any time and does: at the end of stdin, when nobody reads
stdout any more, when the client is gone, and at the first signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import select
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from reconciler.settings import Settings

_STDIN: Final = 0
_STDOUT: Final = 1


def end_with_client() -> None:
    """End this process as soon as its client is gone, however that came about, and at the first Ctrl-C.

    The end of stdin shows it too, unless another process still holds the other end of that pipe.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where Ctrl-C is ignored, as with nohup
        # Python's own handler would wait for the thread that reads stdin.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signs = select.poll()
    with contextlib.suppress(OSError):
        signs.register(os.dup(_STDOUT), 0)  # a copy: the library moves the original. An error is always reported.
    with contextlib.suppress(OSError):
        signs.register(os.pidfd_open(_client()), select.POLLIN)
    threading.Thread(target=_end_on, args=(signs,), daemon=True).start()


def serve(settings: Settings) -> None:
    """Serve until stdin is closed."""
    tools = importlib.import_module("reconciler.frontends.mcp.tools")
    try:
        asyncio.run(tools.make_server(settings, asyncio.Event()).run_stdio_async())
    except* (BrokenPipeError, ConnectionResetError):
        pass  # the client has stopped reading: it has gone


def _end_on(signs: select.poll) -> None:
    signs.poll()
    os._exit(0)


def _client() -> int:
    """Return the process that talks to us: our parent, or the one before it where parents only pass on their stdin.

    0 where stdin is no pipe: a terminal signals its end by itself, and the writer of a file is unknown.
    """
    own, pid = _stdin(os.getpid()), os.getppid()
    if not own.startswith(("pipe:", "socket:")):
        return 0
    with contextlib.suppress(psutil.Error):
        while pid > 1 and _stdin(pid) == own:
            pid = psutil.Process(pid).ppid()
    return pid if pid > 1 else os.getppid()


def _stdin(pid: int) -> str:
    """Return what a process has as its stdin; empty when it cannot be seen."""
    try:
        return str(Path(f"/proc/{pid}/fd/{_STDIN}").readlink())
    except OSError:
        return ""
