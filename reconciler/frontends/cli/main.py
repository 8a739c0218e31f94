"""Run one command of the table, and handle the errors that nobody else did.

Exit codes: 0 success; 1 error; 2 pending (changes planned, in progress, or waiting for the user; `run --once` too,
unless every project is ready); 64 usage error; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING, Final

from reconciler import settings
from reconciler.core import plain_text
from reconciler.frontends.cli import parsing, terminal
from reconciler.state import ownership

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED: Final = 130
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_CURES: Final = {
    **dict.fromkeys(_FULL, "make room there"),
    errno.EACCES: "let this user use it",
    errno.EPERM: "let this user use it",
    errno.EMFILE: "allow it more with ulimit -n",
    errno.EROFS: "use a place that can be written to",
}
"""What to do about an error of the machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    with contextlib.suppress(OSError):
        _open_streams()
    code = _guarded(lambda: _run(arguments))
    # What is still to be printed is written here and not when the interpreter ends, which could only complain.
    flushed = _guarded(_flush)
    if flushed:
        _silence()
    return code if code == INTERRUPTED else flushed or code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        command, options = parsing.parse(arguments)
    except SystemExit as done:  # what argparse printed itself: help, the version, or what it does not understand
        return int(done.code or 0)
    wanted = settings.load(specs=options.specs, needed=command.needed)
    if command.writes:
        ownership.refuse_foreign_home(wanted)
    code: int = parsing.load(command).run(wanted, options)
    return code


def _guarded(function: Callable[[], int]) -> int:
    """Return the exit code of a function; whatever goes wrong in it becomes a sentence instead of a traceback."""
    try:
        return function()
    except settings.UserError as error:
        _complain(str(error))
        return 1
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, or Ctrl-D where something was asked
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        _silence()
        return 0
    except OSError as error:  # a full disk, a folder that may not be used
        where = f" with {error.filename}" if error.filename else " writing" if error.errno in _FULL else ""
        cure = _CURES.get(error.errno or 0, "see what is wrong there")
        _complain(f"cannot go on{where}: {(error.strerror or str(error)).lower()}; {cure}, then try again")
        return 1
    except Exception as error:  # noqa: BLE001  what nobody foresaw, in whatever command
        _complain(_unforeseen(error))
        return 1


def _unforeseen(error: Exception) -> str:
    """Return what to print about an unexpected error; its traceback goes to a file where possible."""
    try:
        found: str = importlib.import_module("reconciler.frontends.cli.unforeseen").sentence(error)
    except (ImportError, OSError, MemoryError):  # perhaps of the same cause
        found = f"cannot go on: unexpected {type(error).__name__}, which is a bug; please report it"
    return found


def _complain(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr is gone
        print(_laid_out(sentence), file=sys.stderr, flush=True)


def _laid_out(sentence: str) -> str:
    """Return a sentence as a terminal may have it: wrapped at words, and with nothing that steers it."""
    with contextlib.suppress(ImportError, OSError, MemoryError):  # perhaps what the sentence is about
        if width := terminal.width(sys.stderr):
            render = importlib.import_module("reconciler.frontends.cli.render")
            return "\n".join(render.wrap(plain_text.visible(sentence), width))
    return sentence


def _flush() -> int:
    sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):  # nobody reads the message
        sys.stderr.flush()
    return 0


def _open_streams() -> None:
    """Open all three standard streams, as git does: otherwise the first file opened gets the number of a closed one."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  a number
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that this terminal cannot show is no error


def _silence() -> None:
    """Write nothing more, nor when the interpreter exits: there is no reader."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
