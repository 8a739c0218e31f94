"""What the person in front of `opencode-manager run` sees: each step as a line, then the table.

Belongs here: printing progress. Does not belong here: the table itself (`render`), or anything that decides.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

from reconciler.core.reasons import Reason
from reconciler.frontends.cli import render, terminal

if TYPE_CHECKING:
    from reconciler.controller.reconciler import Project

_QUIET: Final = frozenset({Reason.LOOKING, Reason.IDLE})
NAME_ROOM: Final = 16
"""Columns for the name of a project."""
_INDENT: Final = " " * 10
"""Below the name."""
_REPEAT: Final = 1.0
"""Seconds between two lines of the same step, for those whose text keeps changing (a clone's percentage)."""


class Console:
    """Prints steps as they happen and the table each time everything has come to rest."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._said: dict[str, tuple[str, str, float]] = {}
        self._shown: list[object] = []
        self._noted: set[str] = set()

    def say(self, text: str) -> None:
        """One line."""
        # Whoever read it may have gone: that must not end the controller.
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self._out, flush=True)

    def notes(self, sentences: tuple[str, ...]) -> None:
        """What is not used, and why: each is printed in full, once."""
        for sentence in sentences:
            if sentence not in self._noted:
                self._noted.add(sentence)
                self.say(f"note: {sentence}")

    def at_rest(self, projects: dict[str, Project]) -> None:
        """Every project is as wanted or waits for a person: the table, unless it is the one shown last."""
        statuses = [project.published for _, project in sorted(projects.items())]
        shape = [_shape(status) for status in statuses]
        if shape != self._shown:
            self._shown = shape
            width, paint = terminal.width(self._out), terminal.painter(self._out)
            self.say(f"\n{render.render_table(statuses, width=width, paint=paint)}\n")

    def step(self, project: Project) -> None:
        """The status of a project changed."""
        status, now = project.published, time.monotonic()
        reason, message = status["reason"], status["message"]
        if reason in _QUIET:
            return
        before_reason, before_message, at = self._said.get(project.name, ("", "", 0.0))
        same = reason == before_reason and (message == before_message or now - at < _REPEAT)
        if same:
            return
        self._said[project.name] = (reason, message, now)
        clock = time.strftime("%H:%M:%S")
        name = render.middle_cut(project.name, NAME_ROOM) if terminal.is_terminal(self._out) else project.name
        self.say(self._wrapped(f"{clock}  {name:<{NAME_ROOM}} ", f"{reason:<18}", message))

    def _wrapped(self, head: str, reason: str, message: str) -> str:
        """The step in the columns of the terminal: a message that does not fit beside its reason stands below it."""
        width, paint = terminal.width(self._out), terminal.painter(self._out)
        shown = message.replace("\n", f"\n{_INDENT}")
        line = f"{head}{paint(reason, 'bold')} {shown}".rstrip()
        if width is None or len(f"{head}{reason} {message}") <= width:
            return line
        below = render.wrap(message, width, _INDENT, _INDENT)
        return "\n".join([f"{head}{paint(reason.rstrip(), 'bold')}", *below])


def _shape(status: dict[str, Any]) -> object:
    """What makes a table worth printing again; ages alone do not."""
    pids = [status[service]["pid"] for service in ("agent", "bridge")]
    return status["name"], status["desired"], status["actual"], status["reason"], pids
