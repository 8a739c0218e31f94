"""Run one command of the table, and handle the errors that nobody else did.

Exit codes: 0 success; 1 error; 2 pending (changes planned, in progress, or waiting for the user; `run --once` too,
unless every project is ready); 64 usage error; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler import __version__, settings
from reconciler.frontends.cli import catalogue, grammar
from reconciler.frontends.cli.grammar import Parser, Top
from reconciler.state import ownership

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from reconciler.frontends.cli.catalogue import Command

PROGRAM: Final = "opencode-manager"
INTERRUPTED: Final = 130
CODES: Final = """\
exit codes:
  0    success
  1    error, explained in one sentence
  2    pending: changes planned, in progress, or waiting for you
  64   usage error
  130  interrupted
"""
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
        command, options = parse(arguments)
    except SystemExit as done:  # what argparse printed itself: help, the version, or what it does not understand
        return int(done.code or 0)
    wanted = settings.load(specs=options.specs, needed=command.needed)
    if command.writes:
        ownership.refuse_foreign_home(wanted)
    code: int = load(command).run(wanted, options)
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
        print(sentence, file=sys.stderr, flush=True)


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


def parse(arguments: Sequence[str] | None = None) -> tuple[Command, argparse.Namespace]:
    """Return the command of a command line, and its options. Exits where there is a usage error, or help was asked for.

    Args:
        arguments: None means those of this process.
    """
    top = _top()
    given = top.parse_args(arguments)
    rest = list(given.rest)
    if given.command == catalogue.HELP.name:
        given = top.parse_args([*(rest or ["--help"])[:1], "--help"])
        rest = ["--help"]
    command = catalogue.BY_NAME[given.command]
    if command.stays:
        # Before anything big is loaded: the first process of a container stays, and does nothing else.
        code: int | None = importlib.import_module("reconciler.system.orphans").reap_for_child()
        if code is not None:
            raise SystemExit(code)
    return command, parser_of(command).parse_args(rest, argparse.Namespace(specs=given.specs))


def _top() -> Top:
    top = Top(
        catalogue.COMMANDS,
        prog=PROGRAM,
        description="Keep an OpenCode coding agent ready in each of your projects.",
        epilog=CODES,
    )
    add_specs(top, help="the specs folder (default: ./specs where there is one)")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}", help="print the version")
    names = [*catalogue.BY_NAME, catalogue.HELP.name]
    top.add_argument(grammar.COMMAND, metavar="COMMAND", choices=names)
    top.add_argument("rest", nargs=argparse.REMAINDER)
    return top


def add_specs(parser: Parser, **options: Any) -> None:  # noqa: ANN401  argparse's own
    """Accept the option that names the specs folder."""
    parser.add_argument("--specs", type=Path, metavar="DIR", **options)


def parser_of(command: Command) -> Parser:
    """Return the parser of what follows a command."""
    parser = Parser(
        prog=f"{PROGRAM} {command.name}", description=f"{command.summary[:1].upper()}{command.summary[1:]}."
    )
    add_specs(parser, default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # there too, for those who forgot
    load(command).arguments(parser)
    return parser


def load(command: Command) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(f"reconciler.frontends.cli.commands.{command.place}")
