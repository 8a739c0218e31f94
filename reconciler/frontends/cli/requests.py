"""Write what was asked for, wait for it, and show progress meanwhile: what `start`, `set` and others have in common."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

from reconciler.api import client, drafts
from reconciler.core.history import Author, Via
from reconciler.frontends.cli import render, terminal
from reconciler.state import published
from reconciler.system import users

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.api.client import SpecChange
    from reconciler.api.drafts import Draft
    from reconciler.api.results import ProjectResult
    from reconciler.settings import Settings

CODES: Final = {"success": 0, "error": 1}
"""Exit codes by the status of an answer; any other is 2."""
_HINTS: Final = {
    "start": (
        "Next: opencode-manager mcp-config --client CLIENT   connects your MCP client\n"
        "      opencode-manager logs {name} -f   follows what the agent prints"
    ),
    "stop": "Everything is kept. Start it again with: opencode-manager start {name}",
    "destroy": "What it had is kept for {days:.0f} days in {trash}",
}


def carry_out(settings: Settings, wanted: Sequence[Draft], command: str, *, seconds: float, dry_run: bool) -> int:
    """Write specs and wait until the controller has acted; return the worst exit code.

    Args:
        settings: where.
        wanted: the changes.
        command: that asked for them.
        seconds: to wait at most.
        dry_run: write nothing and print the changes.
    """
    if not wanted:
        print("There are no projects.")
    if dry_run or not wanted:
        preview(wanted)
        return 0
    changes = [client.write(settings, draft, author(command)) for draft in wanted]
    results = asyncio.run(_wait(settings, changes, seconds))
    print(render.render_results(results) if len(results) > 1 else render.render_result(results[0]))
    # A script reads the status; a person at a terminal wants to know what comes next.
    if len(results) == 1 and terminal.is_terminal(sys.stdout) and (hint := _hint(settings, command, results[0])):
        print(f"\n{hint}")
    return worst([CODES.get(result.status, 2) for result in results])


def author(command: str) -> Author:
    """Return who runs a command, for the history."""
    return Author(Via.CLI, users.name_of(os.getuid()), command)


def preview(wanted: Sequence[Draft]) -> None:
    """Print what would be written."""
    paint = terminal.painter(sys.stdout)
    for draft in wanted:
        found = drafts.diff(draft)
        print(render.render_diff(found, paint) if found else f"{draft.name}: its spec would stay as it is")


def _hint(settings: Settings, command: str, result: ProjectResult) -> str:
    """Return what comes next, where the answer itself does not say it."""
    name = result.project
    if result.status == "in_progress" and published.read(settings.home).running:
        return f"It continues by itself. Follow it with: opencode-manager wait {name}"
    if result.status != "success":
        return ""
    return _HINTS.get(command, "").format(name=name, days=settings.trash_days, trash=settings.home.trash)


async def _wait(settings: Settings, changes: Sequence[SpecChange], seconds: float) -> list[ProjectResult]:
    """Wait for all of them at once."""
    with contextlib.closing(Steps(sys.stderr)) as steps:
        return await _wait_for_all(settings, changes, seconds, steps)


async def _wait_for_all(
    settings: Settings, changes: Sequence[SpecChange], seconds: float, steps: Steps
) -> list[ProjectResult]:
    async def one(change: SpecChange) -> ProjectResult:
        async def progress(waited: float, result: ProjectResult) -> None:
            steps.show(change.name, f"{result.reason}: {result.message}".rstrip(": "), waited)

        try:
            return await client.wait(settings, change, seconds, progress)
        finally:
            steps.leave(change.name)

    return list(await asyncio.gather(*(one(change) for change in changes)))


class Steps:
    """Print progress, a line for each step; on a terminal the last line shows the elapsed time.

    Args:
        out: the stream.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._width = terminal.width(out) if terminal.redraws(out, os.environ) else None
        self._said: dict[str, str] = {}
        self._open = ""
        """The project whose line has no end yet."""

    def show(self, name: str, step: str, waited: float) -> None:
        """Show the state of a project after so many seconds."""
        said = self._said.get(name)
        alone = len(self._said.keys() | {name}) == 1
        if not step or (step == said and (self._width is None or not alone)):
            return
        line = f"{name}: {step}"
        if self._width is None:
            print(line, file=self._out, flush=True)
        else:
            if step != said or self._open != name:
                self.close()
            clock = f" ({render.age(waited)})"
            shown = f"{render.cut(line, self._width - len(clock) - 1)}{clock}"
            print(f"\r\033[K{shown}", end="", file=self._out, flush=True)
            self._open = name
        self._said[name] = step

    def leave(self, name: str) -> None:
        """Show nothing more of a project."""
        if self._open == name:
            self.close()

    def close(self) -> None:
        """Write nothing more into this line."""
        if self._open:
            print(file=self._out, flush=True)
            self._open = ""


def worst(codes: Sequence[int]) -> int:
    """Return the exit code of several projects: an error, else what is not so yet, else success."""
    return 1 if 1 in codes else max(codes, default=0)
