"""Show what services printed."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from reconciler.api import engine_access, reader
from reconciler.core.names import valid_name
from reconciler.core.observed import Service
from reconciler.frontends.cli import flags, log_lines, selection, terminal
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings

    Said = tuple[str, bytes | BaseException | None]
    """A project, and a line of its log; or why there is no more."""

_SERVICES: Final = tuple(service.value for service in Service)
_MANY: Final = 1_000_000
"""Lines that are searched with `--since`."""


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "After one name, or several, the word bridge or agent (the default) says which service.",
        "logs blog-api -f",
        "logs blog-api bridge -n 20",
        "logs 'web-*' --since 10m --timestamps",
    )
    flags.projects(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="follow: print what is appended")
    parser.add_argument("-n", "--lines", type=int, metavar="N", help="of each (default: 100; with --since: all)")
    parser.add_argument("--since", type=flags.duration, metavar="TIME", help="only lines that young, like 10m")
    parser.add_argument("--prefix", action="store_true", help="the project before each line (default with several)")
    parser.add_argument("--timestamps", action="store_true", help="the time in UTC before each line that says it")


def run(settings: Settings, options: Namespace) -> int:
    """Print the end of each log, and with -f what is appended."""
    service = Service.AGENT
    if len(options.names) > 1 and options.names[-1] in _SERVICES:
        service = Service(options.names.pop())
    names = selection.chosen(settings, options, "show the log of")
    index = published.read(settings.home)
    known = reader.known(index, settings) if len(names) > 1 else names  # of one that is gone, the log may be left
    for name in names:
        if not valid_name(name) or (name not in known and not engine_access.holds(settings, name)):
            raise UserError(reader.unknown(index, settings, name, "show the log of"))
    plain = len(names) == 1 and not (options.since or options.prefix or options.timestamps)
    if plain and not terminal.is_terminal(sys.stdout):
        _copy(settings, names[0], service, options)
    elif options.follow:
        _follow(settings, names, service, options)
    else:
        _print(settings, names, service, options)
    return 0


def _count(options: Namespace) -> int:
    """Return how many lines are read of each log."""
    if options.lines is not None:
        return int(options.lines)
    return _MANY if options.since else 100


def _copy(settings: Settings, name: str, service: Service, options: Namespace) -> None:
    """Copy the bytes as they are: a program reads them."""
    with contextlib.closing(
        engine_access.logs(settings, name, service, lines=_count(options), follow=options.follow)
    ) as pieces:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()


def _print(settings: Settings, names: Sequence[str], service: Service, options: Namespace) -> None:
    """Print one log after the other."""
    show = _printer(names, options)
    for name in names:
        lines: list[bytes] = []
        try:
            _read(settings, name, service, options, lines.append)
        except UserError as error:
            _pass_over(names, error)
        if options.since and lines and not any(log_lines.time_of(line) for line in lines):
            print(f"note: the log of {name} has no times: all of it is shown", file=sys.stderr)
        elif options.since:
            lines = list(log_lines.since(lines, time.time() - options.since))
        for line in lines:
            show(name, line)
    sys.stdout.flush()


def _read(settings: Settings, name: str, service: Service, options: Namespace, give: Callable[[bytes], None]) -> None:
    """Read a log line by line, with -f without end."""
    cutter = log_lines.Lines(give)
    with contextlib.closing(
        engine_access.logs(settings, name, service, lines=_count(options), follow=options.follow)
    ) as pieces:
        for piece in pieces:
            cutter.add(piece)
    cutter.end()


def _follow(settings: Settings, names: Sequence[str], service: Service, options: Namespace) -> None:
    """Print lines of all logs as they come. Each log is read by a thread: whatever it waits for, others go on."""
    said: queue.Queue[Said] = queue.Queue(maxsize=10_000)
    show, began = _printer(names, options), time.time()

    def read(name: str) -> None:
        try:
            _read(settings, name, service, options, lambda line: said.put((name, line)))
            said.put((name, None))
        except (OSError, UserError) as error:
            said.put((name, error))

    for name in names:
        threading.Thread(target=read, args=(name,), daemon=True).start()
    left, new = len(names), dict.fromkeys(names, not options.since)
    while left:
        name, line = said.get()
        if isinstance(line, UserError):
            _pass_over(names, line)
        elif isinstance(line, BaseException):
            raise line
        if line is None or isinstance(line, UserError):
            left -= 1
            continue
        at = log_lines.time_of(line)
        new[name] = new[name] or (at is not None and at >= began - (options.since or 0.0))
        if new[name]:
            show(name, line)
        if said.empty():
            sys.stdout.flush()


def _pass_over(names: Sequence[str], error: UserError) -> None:
    """Say that one of several projects has no log, such as one that has never run; of one alone it is an error."""
    if len(names) == 1:
        raise error
    print(f"note: {error}", file=sys.stderr)


def _printer(names: Sequence[str], options: Namespace) -> Callable[[str, bytes], None]:
    """Return what prints a line of a project."""
    prefix, width = options.prefix or len(names) > 1, max(map(len, names))

    def show(name: str, line: bytes) -> None:
        at = log_lines.time_of(line)
        clock = f"{log_lines.stamp(at) if at else '-':<20}  " if options.timestamps else ""
        print(f"{f'{name:<{width}}  ' if prefix else ''}{clock}{log_lines.shown(line)}")

    return show
