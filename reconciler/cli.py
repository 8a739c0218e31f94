"""The command line: what there is to say, and which module answers.

Belongs here: the grammar of `opencode-manager`, and the last catch of what went wrong. Does not belong here: what a
command does (`commands`).

Exit codes: 0 it is so; 1 an error, told in one sentence; 2 not so (yet): changes are planned, it is still in progress,
or it waits for a person (also of `run --once`, unless every project is ready); 64 the command line makes no sense; 130
interrupted.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from reconciler import __version__, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.settings import Settings

USAGE: Final = 64
INTERRUPTED: Final = 130
CODES: Final = """\
exit codes:
  0    it is so
  1    an error, told in one sentence
  2    not so (yet): changes are planned, it is in progress, or somebody has to act
  64   the command line makes no sense
  130  interrupted
"""
_CURES: Final = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EACCES: "let this user use it",
    errno.EPERM: "let this user use it",
    errno.EMFILE: "allow it more with ulimit -n",
    errno.EROFS: "use a place that can be written to",
}
"""What to do about an error of the machine."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Usage errors have a code of their own: 2 means that something is not so yet."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"cannot understand the command line: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = parser().parse_args(arguments)
    try:
        module = importlib.import_module(f"reconciler.commands.{options.module}")
        command: Callable[[Settings, argparse.Namespace], int] = getattr(module, options.function)
        return command(settings.load(specs=options.specs), options)
    except settings.UserError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, or Ctrl-D where something was asked
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a folder that may not be used
        where = f" with {error.filename}" if error.filename else ""
        cure = _CURES.get(error.errno or 0, "see what is wrong there")
        print(f"cannot go on{where}: {(error.strerror or str(error)).lower()}; {cure}, then try again", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The whole grammar."""
    top = _Parser(
        prog="opencode-manager",
        description="Keep an OpenCode coding agent ready in each of your projects.",
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    top.add_argument("--specs", type=Path, metavar="DIR", help="the specs folder (default: ./specs where there is one)")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, module: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        command.set_defaults(module=module, function=name.replace("-", "_"))
        return command

    _add_serving(add)
    _add_control(add)
    _add_looking(add)
    _add_offline(add)
    return top


def _add_serving(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    run = add("run", "serve", "run the controller: make every project as its spec says, and keep it so")
    run.add_argument("--standby", action="store_true", help="wait for a running controller to end, then take over")
    run.add_argument(
        "--once",
        action="store_true",
        help="end when every project is as wanted (exit code 0), or waits for a person (2)",
    )
    run.add_argument("--quiet", action="store_true", help="print nothing; the log is in opencode-controller/")
    add("mcp", "mcp", "serve the MCP tools on stdin and stdout, for clients that start their servers")
    snippet = add("mcp-config", "mcp", "print what to put into an MCP client's configuration")
    clients = ["claude-code", "claude-desktop", "opencode", "codex", "cursor"]
    snippet.add_argument("--client", choices=clients, required=True)


def _add_control(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    start = add("start", "control", "want a project running: write its spec and wait")
    start.add_argument("name")
    start.add_argument("git_url", nargs="?", help="needed the first time")
    start.add_argument("--ssh-key", metavar="PATH", help="a private key of yours instead of a generated deploy key")
    stop = add("stop", "control", "want a project stopped; everything is kept")
    restart = add("restart", "control", "restart both services of a project once")
    destroy = add("destroy", "control", "want a project gone: end it and move its sandbox to the trash")
    destroy.add_argument("--yes", action="store_true", help="do not ask")
    destroy.add_argument("--discard-unpushed", action="store_true", help="even if work would be lost")
    for command in (stop, restart, destroy):
        command.add_argument("name")
    for command in (start, stop, restart, destroy):
        command.add_argument("--wait", type=float, default=180.0, metavar="SECONDS", help="default: %(default).0f")
    confirm = add("confirm-missing", "control", "confirm that spec files are missing on purpose, so that they stop")
    confirm.add_argument("names", nargs="*", metavar="name", help="default: every project held back for it")
    secrets = add("secrets", "secrets", "set or make the secrets of a project, outside any chat; never prints them")
    secrets.add_argument("name")
    secrets.add_argument("--generate", action="store_true", help="make strong random ones without asking")
    secrets.add_argument("--rotate", action="store_true", help="new ones also in place of good ones")


def _add_looking(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    listing = add("list", "look", "list all projects, wanted and actual side by side")
    status = add("status", "look", "show all projects, or one in full")
    status.add_argument("name", nargs="?")
    status.add_argument("--watch", action="store_true", help="show it again whenever it changes")
    for command in (listing, status):
        command.add_argument("-o", "--output", choices=["table", "json", "yaml"], default="table")
    logs = add("logs", "look", "show what a service printed")
    logs.add_argument("name")
    logs.add_argument("service", nargs="?", choices=["agent", "bridge"], default="agent")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it prints more")
    logs.add_argument("-n", "--lines", type=int, default=100, help="default: %(default)s")


def _add_offline(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    plan = add("plan", "offline", "show what the controller would do now (exit code 0: nothing, 2: changes, 1: error)")
    plan.add_argument("names", nargs="*", metavar="name")
    validate = add("validate", "offline", "check spec files, for CI of a specs repository")
    validate.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="spec files or folders of them (default: the specs folder)"
    )
    add("schema", "offline", "print the JSON Schema of a spec file, for editors")
