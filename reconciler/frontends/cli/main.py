"""The command line: its grammar, and the last handler of errors.

Exit codes: 0 success; 1 error; 2 pending (changes planned, in progress, or waiting for the user; `run --once` too,
unless every project is ready); 64 usage error; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import math
import os
import sys
from argparse import SUPPRESS, ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler import __version__, settings
from reconciler.frontends.cli.grammar import Parser, Top
from reconciler.state import ownership

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from reconciler.settings import Settings

    Add = Callable[..., argparse.ArgumentParser]

INTERRUPTED: Final = 130
CLIENTS: Final = (
    *("claude-code", "opencode", "codex", "cursor", "gemini", "qwen", "vscode", "windsurf", "goose", "kilo"),
    *("claude-desktop", "cline", "zed", "lm-studio"),
)
"""Repeated here, because `client_config` is not loaded for other commands."""
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
_STAYING: Final = frozenset({"run", "mcp"})
"""Commands that may be the first process of a container."""
_PORT: Final = frozenset({settings.PORT_VARIABLE})
_RANGES: Final = frozenset({settings.AGENT_PORTS_VARIABLE, settings.BRIDGE_PORTS_VARIABLE})


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
    top = parser()
    try:
        options = top.parse_args(arguments)
        if options.module == "help":
            top.parse_args([*options.topic, "--help"])
    except SystemExit as done:  # what argparse printed itself: help, the version, or what it does not understand
        return int(done.code or 0)
    wanted = settings.load(specs=options.specs, needed=options.needed)
    if options.writes:
        ownership.refuse_foreign_home(wanted)
    if options.stays:
        code: int | None = importlib.import_module("reconciler.system.orphans").reap_for_child()
        if code is not None:
            return code
    module = importlib.import_module(f"reconciler.frontends.cli.commands.{options.module}")
    command: Callable[[Settings, argparse.Namespace], int] = getattr(module, options.function)
    return command(wanted, options)


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


def parser() -> Top:
    """Return the parser of the whole command line."""
    top = Top(
        prog="opencode-manager",
        description="Keep an OpenCode coding agent ready in each of your projects.",
        epilog=CODES,
    )
    top.add_argument("--specs", type=Path, metavar="DIR", help="the specs folder (default: ./specs where there is one)")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}", help="print the version")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def add(
        name: str, module: str, text: str, more: str = "", *, writes: bool = False, needed: frozenset[str] = frozenset()
    ) -> argparse.ArgumentParser:
        """Add a command: its name, module, summary (`more` in its own help only), and the settings it needs."""
        description = f"{text[:1].upper()}{text[1:]}.{' ' if more else ''}{more}"
        command = commands.add_parser(name, description=description)
        if module != "help":
            top.list_command(name, text)
        command.set_defaults(
            module=module, function=name.replace("-", "_"), writes=writes, needed=needed, stays=name in _STAYING
        )
        command.add_argument("--specs", type=Path, default=SUPPRESS, help=SUPPRESS)  # there too, for those who forgot
        return command

    top.begin_group("run")
    _add_serving(add)
    top.begin_group("change a project")
    _add_control(add)
    _add_secrets(add)
    top.begin_group("show state")
    _add_queries(add)
    top.begin_group("check specs")
    _add_offline(add)
    add("help", "help", "show this, or how to use a command").add_argument("topic", nargs="*", metavar="COMMAND")
    return top


def _add_serving(add: Add) -> None:
    everything = settings.ALL_VARIABLES
    run = add(
        "run", "serve", "run the controller, which reconciles projects with their specs", writes=True, needed=everything
    )
    run.add_argument("--standby", action="store_true", help="wait for a running controller to end, then take over")
    run.add_argument(
        "--once",
        action="store_true",
        help="exit when every project was reconciled once; exit code 0 if all are ready, else 2",
    )
    run.add_argument("--quiet", action="store_true", help="print nothing; the log is in opencode-controller/")
    add(
        "mcp",
        "mcp",
        "serve the MCP tools on stdin and stdout",
        "For clients that start their servers; starts a controller if none is running.",
        writes=True,
        needed=everything,
    )
    snippet = add("mcp-config", "mcp", "print the configuration for an MCP client", writes=True, needed=_PORT)
    snippet.add_argument("--client", choices=CLIENTS, required=True)
    snippet.add_argument("--project", metavar="NAME", help="the bridge of one project instead of the controller")


def _seconds(text: str) -> float:
    """Parse how long to wait."""
    with contextlib.suppress(ValueError):
        if not math.isnan(value := float(text)):
            return value
    raise ArgumentTypeError(f"{text!r} is not a number of seconds")


def _add_control(add: Add) -> None:
    start = add("start", "control", "start a project", "Writes its spec and waits until it is running.", writes=True)
    start.add_argument("name", metavar="NAME", help="the project")
    start.add_argument("git_url", nargs="?", metavar="GIT_URL", help="needed the first time")
    start.add_argument("--ssh-key", metavar="PATH", help="your own private key instead of a generated deploy key")
    stop = add(
        "stop",
        "control",
        "stop a project and keep everything",
        "Waits until none of its processes is running.",
        writes=True,
    )
    restart = add(
        "restart",
        "control",
        "restart the agent and the bridge of a project",
        "Waits until both are ready again.",
        writes=True,
    )
    destroy = add(
        "destroy",
        "control",
        "stop a project and move its sandbox to the trash",
        "Refuses if work would be lost.",
        writes=True,
    )
    destroy.add_argument("--yes", action="store_true", help="do not ask")
    destroy.add_argument("--discard-unpushed", action="store_true", help="destroy even if work would be lost")
    for command in (stop, restart, destroy):
        command.add_argument("name", metavar="NAME", help="the project")
    for command in (start, stop, restart, destroy):
        command.add_argument(
            "--wait",
            type=_seconds,
            default=180.0,
            metavar="SECONDS",
            help="wait at most so long (default: %(default).0f)",
        )
    confirm = add(
        "confirm-missing",
        "control",
        "confirm that spec files are missing on purpose",
        "Their projects are then stopped.",
        writes=True,
    )
    confirm.add_argument("names", nargs="*", metavar="NAME", help="default: every project that waits for it")


def _add_secrets(add: Add) -> None:
    secrets = add(
        "secrets",
        "set_secrets",
        "set the secrets of a project, outside any chat",
        "They are never printed.",
        writes=True,
    )
    secrets.add_argument("name", metavar="NAME", help="the project")
    secrets.add_argument("--generate", action="store_true", help="generate random ones without asking")
    secrets.add_argument("--rotate", action="store_true", help="also replace valid ones")


def _add_queries(add: Add) -> None:
    listing = add("list", "show", "list all projects, desired and actual side by side")
    status = add("status", "show", "show all projects, or one in full")
    status.add_argument("name", nargs="?", metavar="NAME", help="one project (default: all)")
    status.add_argument("--watch", action="store_true", help="show it again whenever it changes")
    for command in (listing, status):
        command.add_argument(
            "-o",
            "--output",
            choices=["table", "json", "yaml"],
            default="table",
            metavar="FORMAT",
            help="table (the default), json or yaml",
        )
    logs = add("logs", "show", "show what a service printed")
    logs.add_argument("name", metavar="NAME", help="the project")
    service = logs.add_argument("service", nargs="?", choices=["agent", "bridge"], default="agent", metavar="SERVICE")
    service.help = "agent (the default) or bridge"
    logs.add_argument("-f", "--follow", action="store_true", help="follow: print what is appended")
    logs.add_argument("-n", "--lines", type=int, default=100, metavar="N", help="default: %(default)s")


def _add_offline(add: Add) -> None:
    plan = add(
        "plan",
        "offline",
        "show what the controller would do now",
        "Exit code 0: nothing, 2: changes, 1: error.",
        writes=True,  # it writes nothing, but reads secrets and runs git there: not in another user's home
        needed=settings.ALL_VARIABLES,
    )
    plan.add_argument("names", nargs="*", metavar="NAME", help="default: all projects")
    validate = add("validate", "offline", "check spec files, for the CI of a specs repository", needed=_RANGES)
    validate.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="files or folders of them; default: the specs folder"
    )
    add("schema", "offline", "print the JSON Schema of a spec file, for editors")
