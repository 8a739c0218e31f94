"""Show what the controller would do now."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.api import reader
from reconciler.core.plain_text import LONGEST, plain
from reconciler.core.plan import Plan
from reconciler.frontends.cli import flags, selection
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("Exit code 0: nothing, 2: changes, 1: error.", "plan", "plan blog-api")
    flags.projects(parser, default="all")


def run(settings: Settings, options: Namespace) -> int:
    """Print the planned actions with their causes, project by project."""
    folder = reader.specs_folder(published.read(settings.home), settings)
    if folder != settings.specs:
        print(f"note: these are the specs of the running controller, in {folder}", file=sys.stderr)
    chosen = selection.chosen(settings, options, "plan") if options.names or options.labels else []
    plans = importlib.import_module("reconciler.app").plan_projects(replace(settings, specs=folder), chosen)
    for name, planned in plans.items():
        print(name)
        for line in _lines(planned):
            print(f"  {plain(line, LONGEST)}")
    if any(isinstance(planned, str) for planned in plans.values()):
        return 1
    return (
        2 if any(isinstance(planned, Plan) and (planned.actions or planned.hold) for planned in plans.values()) else 0
    )


def _lines(planned: Plan | str) -> list[str]:
    if isinstance(planned, str):
        return planned.splitlines()  # each problem of a spec on a line of its own
    width = max((len(action.text) for action in planned.actions), default=0)
    lines = [f"{action.text:<{width}}  because {action.cause}" for action in planned.actions]
    if planned.hold:
        first, *more = planned.hold.message.splitlines() or [""]
        lines += [f"then waits ({planned.hold.reason}): {first}", *more]
    return lines or ["nothing to do"]
