"""Progress for the person in front of `opencode-manager run`: a line for each step, a table once all is at rest."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

from reconciler.core.reasons import Reason
from reconciler.frontends.cli import render, terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_QUIET: Final = frozenset({Reason.OBSERVING, Reason.IDLE})
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
        """Print one line."""
        # The reader may be gone: that must not end the controller.
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self._out, flush=True)

    def notes(self, sentences: tuple[str, ...]) -> None:
        """Print what is not used, and why: each in full, once."""
        for sentence in sentences:
            if sentence not in self._noted:
                self._noted.add(sentence)
                self.say(f"note: {sentence}")

    def at_rest(self, statuses: Sequence[Mapping[str, Any]]) -> None:
        """Print the table, unless it is the one shown last: every project is as desired or waits for a person."""
        shape = [_shape(status) for status in statuses]
        if shape != self._shown:
            self._shown = shape
            width, paint = terminal.width(self._out), terminal.painter(self._out)
            self.say(f"\n{render.render_table(statuses, width=width, paint=paint)}\n")

    def forget(self, name: str) -> None:
        """Drop what was printed of a project that is gone."""
        self._said.pop(name, None)

    def step(self, status: Mapping[str, Any]) -> None:
        """Print the status of a project that has changed."""
        now = time.monotonic()
        name, reason, message = status["name"], status["reason"], status["message"]
        if reason in _QUIET:
            return
        before_reason, before_message, at = self._said.get(name, ("", "", 0.0))
        same = reason == before_reason and (message == before_message or now - at < _REPEAT)
        if same:
            return
        self._said[name] = (reason, message, now)
        clock = time.strftime("%H:%M:%S")
        shown = render.middle_cut(name, NAME_ROOM) if terminal.is_terminal(self._out) else name
        self.say(self._wrapped(f"{clock}  {shown:<{NAME_ROOM}} ", f"{reason:<18}", message))

    def _wrapped(self, head: str, reason: str, message: str) -> str:
        """Fit the step into the columns of the terminal: a message with no room beside its reason stands below it."""
        width, paint = terminal.width(self._out), terminal.painter(self._out)
        shown = message.replace("\n", f"\n{_INDENT}")
        line = f"{head}{paint(reason, 'bold')} {shown}".rstrip()
        if width is None or len(f"{head}{reason} {message}") <= width:
            return line
        below = render.wrap(message, width, _INDENT, _INDENT)
        return "\n".join([f"{head}{paint(reason.rstrip(), 'bold')}", *below])


def _shape(status: Mapping[str, Any]) -> object:
    """Return what makes a table worth printing again when it changes; ages do not."""
    pids = [status[service]["pid"] for service in ("agent", "bridge")]
    return status["name"], status["desired"], status["actual"], status["reason"], pids
