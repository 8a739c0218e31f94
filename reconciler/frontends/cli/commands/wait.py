"""Wait until projects are as a script needs them."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from reconciler.api import goals, reader
from reconciler.api.results import START_CONTROLLER
from reconciler.core.activity import Doing
from reconciler.frontends.cli import flags, render, requests, selection, watching
from reconciler.settings import UserError
from reconciler.specs import spec_folder
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reconciler.api.goals import Goal
    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings
    from reconciler.state.published import Index

_PATIENCE: Final = 10.0
"""Seconds without a controller: one may just be starting, as after a boot."""


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Exit code 0: all of them are, 1: error, 2: not in time.",
        "wait blog-api --timeout 5m",
        "wait --all --for stopped",
        "wait blog-api --for idle",
        "wait blog-api --for condition=WaitingForKey",
    )
    flags.projects(parser)
    parser.add_argument(
        "--for",
        dest="goal",
        default="ready",
        metavar="GOAL",
        help="ready (the default), idle, stopped, condition=NAME or condition=NAME=false: Ready, Reconciling, Stalled, "
        "or a reason that status shows",
    )
    parser.add_argument(
        "--timeout", type=flags.duration, default=flags.WAIT, metavar="TIME", help="like 90s or 5m (default: 3m)"
    )


def run(settings: Settings, options: Namespace) -> int:
    """Look at each change of the published status, and every `changes.POLL`."""
    goal = goals.parse(options.goal)
    names = selection.chosen(settings, options, "wait for")
    wait = _Wait(settings, goal, frozenset(options.names))
    began = time.monotonic()
    left = _waited(wait, names, options.timeout, began)
    for name in names:
        if name in left:
            late = f"{name}: not {goal.text} after {render.age(time.monotonic() - began)}: {_standing(left[name])}"
            print(late, file=sys.stderr)
        else:
            print(f"{name}: {wait.reached(name)}")
    return 2 if left else 0


def _waited(wait: _Wait, names: Sequence[str], timeout: float, began: float) -> dict[str, Mapping[str, Any] | None]:
    """Return what has not reached the goal in time, after all has or the time is over.

    Raises:
        UserError: there is no such project, or no controller that would do anything.
    """
    patience, left = min(timeout, _PATIENCE), wait.left(names)
    with contextlib.closing(requests.Steps(sys.stderr)) as steps:
        for _ in watching.ticks(wait.settings.home.root):
            waited = time.monotonic() - began
            if left and waited >= patience and not published.read(wait.settings.home).running:
                raise UserError(f"cannot wait for {', '.join(left)}: no controller is running; {START_CONTROLLER}")
            if not left or waited >= timeout:
                break
            for name, status in left.items():
                if status:
                    steps.show(name, _standing(status), waited)
            left = wait.left(list(left))
    return left


def _standing(status: Mapping[str, Any] | None) -> str:
    return f"{status['reason']}: {status['message']}".rstrip(": ") if status else "not seen yet"


class _Wait:
    """Judge projects by what is published.

    Args:
        settings: where.
        goal: what is waited for.
        named: those that were named: of others, only those whose spec leads to the goal are waited for.
    """

    def __init__(self, settings: Settings, goal: Goal, named: frozenset[str]) -> None:
        self.settings = settings
        self._goal = goal
        self._named = named

    def left(self, names: Sequence[str]) -> dict[str, Mapping[str, Any] | None]:
        """Return the projects that have not reached the goal yet, with their statuses.

        Raises:
            UserError: there is no such project.
        """
        index = published.read(self.settings.home)
        return {name: index.projects.get(name) for name in names if not self._is_over(index, name)}

    def reached(self, name: str) -> str:
        """Return what one has reached, in words."""
        status = published.read(self.settings.home).projects.get(name)
        passed_over = status is not None and not self._goal.met(status)
        return f"its spec says {status['desired']}" if status is not None and passed_over else self._goal.text

    def _is_over(self, index: Index, name: str) -> bool:
        folder, status = reader.specs_folder(index, self.settings), index.projects.get(name)
        if status is None:
            if reader.has_spec(folder, name):
                return False
            if self._goal.gone:
                return True
            raise UserError(reader.unknown(index, self.settings, name, "wait for"))
        passed_over = name not in self._named and not self._goal.wanted(status)
        over = (passed_over or self._goal.met(status)) and _is_current(folder, name, status)
        return over and (passed_over or not self._goal.idle or _is_idle(self.settings, name, status))


def _is_idle(settings: Settings, name: str, status: Mapping[str, Any]) -> bool:
    """Ask the agent, unless it sleeps."""
    if status["activity"]["state"] == Doing.ASLEEP:
        return True
    asking = importlib.import_module("reconciler.frontends.cli.activity")  # loads an HTTP client, for this goal alone
    idle: bool = asking.is_idle(settings, name, str(status["kind"]))
    return idle


def _is_current(folder: Path, name: str, status: Mapping[str, Any]) -> bool:
    """Tell whether a status was computed from the spec file as it is now: one that was just changed is waited for."""
    try:
        version = spec_folder.token_of(spec_folder.spec_path(folder, name).stat()).text
    except OSError:
        return True
    return version == str(status["spec_version"])
