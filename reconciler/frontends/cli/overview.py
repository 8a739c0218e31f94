"""Show published statuses: what `list` and `status` have in common."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from reconciler.api import reader
from reconciler.frontends.cli import output, render, selection, terminal, watching
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from reconciler.settings import Settings


def run(settings: Settings, options: Namespace, *, in_full: bool) -> int:
    """Print the chosen projects; again at each change when watching."""

    def show() -> int:
        return _show(settings, options, in_full=in_full)

    return watching.repeat(settings, show) if options.watch else show()


def _show(settings: Settings, options: Namespace, *, in_full: bool) -> int:
    """Print the statuses; return 0 when everything shown is as desired, else 2."""
    index = published.read(settings.home)
    for warning in reader.warnings(index):
        print(render.note(warning, terminal.width(sys.stderr)), file=sys.stderr)
    if options.names or options.labels:
        names = selection.chosen(settings, options, "show")
        # A pattern shows what there is; a project that was named gets a reason where there is nothing.
        seen = [name for name in names if name in index.projects or name in options.names]
        shown = [reader.raw_status(settings, name) for name in seen]
    else:
        shown = [index.projects[name] for name in sorted(index.projects)]
    if options.output in output.FOR_PEOPLE:
        print(_for_people(shown, options, in_full=in_full))
    else:
        output.show(options.output, shown, alone=in_full and selection.one_by_name(options))
    return 0 if all(project["ready"]["status"] for project in shown) else 2


def _for_people(shown: Sequence[Mapping[str, Any]], options: Namespace, *, in_full: bool) -> str:
    width, paint = terminal.width(sys.stdout), terminal.painter(sys.stdout)
    if in_full and options.output != "wide":
        return "\n\n".join(render.render_status(project, width=width, paint=paint) for project in shown)
    wide = options.output == "wide"
    return render.render_table(
        shown, width=None if wide else width, paint=paint, wide=wide, headers=not options.no_headers
    )
