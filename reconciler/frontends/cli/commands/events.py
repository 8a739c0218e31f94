"""Show what happened."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final

from reconciler.api import history
from reconciler.frontends.cli import flags, output, selection, terminal
from reconciler.frontends.cli.render_events import EventTable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from reconciler.core.history import HistoryRecord
    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings

_ENDLESS: Final = "-f has no end, which one JSON document needs: use -o jsonl"


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("", "events", "events 'blog-*' --since 1h -f", "events -l team=web -o jsonl")
    flags.projects(parser, default="all")
    parser.add_argument("--since", default="", metavar="TIME", help="a duration like 90s, 30m, 1h or 2d, or a time")
    parser.add_argument("-f", "--follow", action="store_true", help="follow: print each new one")
    parser.add_argument(
        *("-n", "--lines"), type=int, metavar="N", help="at most so many (default: 100, or all with --since)"
    )
    flags.output(parser, watch=False)
    parser.check(lambda options: _ENDLESS if options.follow and options.output == "json" else "")


def run(settings: Settings, options: Namespace) -> int:
    """Print the newest events, and with -f each new one."""
    # Without a label, names are not compared with those that there are: the history also has projects that are gone.
    names = selection.chosen(settings, options, "show events of") if options.labels else options.names
    which = history.wanted([] if options.all and not options.labels else names, options.since)
    limit = options.lines if options.lines is not None else None if which.since else history.MANY
    newest = history.last_index(settings) if options.follow else 0
    records = [
        record
        for record in history.latest(settings, which, max(limit, 0) if limit is not None else None)
        if not options.follow or record.index <= newest  # the others follow
    ]
    show = _printer(options)
    if records or options.follow or options.output in {"json", "yaml"}:
        show(records)
    else:
        print(_nothing(options.names, options.since), file=sys.stderr)
    if options.follow:
        follow = importlib.import_module("reconciler.api.history_follow")  # a tenth of a second
        follow.run(settings, newest, lambda news: show([record for record in news if which.matches(record)]))
    return 0


def _printer(options: Namespace) -> Callable[[Sequence[HistoryRecord]], None]:
    """Return what prints events, some at a time."""
    form, head = options.output, not options.no_headers
    table = EventTable(terminal.width(sys.stdout) if form == "table" else None, terminal.painter(sys.stdout))

    def show(records: Sequence[HistoryRecord]) -> None:
        nonlocal head
        if form in output.FOR_PEOPLE:
            for line in table.lines(records, head=head):
                print(line)
            head = False
        elif records or not options.follow:  # lists of YAML that follow each other are one list
            output.show(form, [record.to_dict() for record in records], key="index")
        sys.stdout.flush()

    return show


def _nothing(names: Sequence[str], since: str) -> str:
    whose = f" of {', '.join(names)}" if names else ""
    return f"there are no events{whose}{f' since {since}' if since else ''}"
