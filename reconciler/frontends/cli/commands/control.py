"""Commands that request a change and wait for it, as the MCP tools do."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, TextIO

from reconciler.api import client, reader
from reconciler.frontends.cli import render, terminal
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.api.client import SpecChange
    from reconciler.api.results import ProjectResult
    from reconciler.settings import Settings


def start(settings: Settings, options: Namespace) -> int:
    """Start a project."""
    return _await(settings, client.start(settings, options.name, options.git_url, options.ssh_key), options)


def stop(settings: Settings, options: Namespace) -> int:
    """Stop a project."""
    return _await(settings, client.stop(settings, options.name), options)


def restart(settings: Settings, options: Namespace) -> int:
    """Restart both services."""
    return _await(settings, client.restart(settings, options.name), options)


def destroy(settings: Settings, options: Namespace) -> int:
    """Destroy a project after the user at the terminal has confirmed."""
    confirm = options.name if options.yes else ""
    if not confirm:
        if not sys.stdin.isatty():
            raise UserError(f"cannot ask whether to destroy {options.name} without a terminal: add --yes")
        confirm = input(f"This moves {options.name} to the trash. Type its name to confirm: ")
    change = client.destroy(settings, options.name, confirm=confirm, discard_unpushed=options.discard_unpushed)
    return _await(settings, change, options)


def confirm_missing(settings: Settings, options: Namespace) -> int:
    """Confirm that spec files are missing on purpose."""
    index = published.read(settings.home)
    for name in options.names:
        if name not in index.projects:
            raise UserError(reader.unknown(index, settings, name, "confirm"))
    chosen = client.confirm_missing(settings, options.names)
    if chosen:
        print(f"confirmed: {', '.join(chosen)}")
    if idle := [name for name in options.names if name not in chosen]:
        print(f"there is nothing to confirm for {', '.join(idle)}: see opencode-manager status")
    elif not chosen:
        print("there is nothing to confirm")
    return 0


def _await(settings: Settings, change: SpecChange, options: Namespace) -> int:
    result = asyncio.run(_wait(settings, change, options.wait))
    print(render.render_result(result))
    # A script reads the status; a person at a terminal wants to know what comes next.
    if terminal.is_terminal(sys.stdout) and (hint := _hint(settings, options.function, result)):
        print(f"\n{hint}")
    return {"success": 0, "error": 1}.get(result.status, 2)


def _hint(settings: Settings, command: str, result: ProjectResult) -> str:
    """Return what comes next, where the answer itself does not say it."""
    name = result.project
    if result.status == "in_progress" and published.read(settings.home).running:
        return f"It continues by itself. Follow it with: opencode-manager status {name} --watch"
    if result.status != "success":
        return ""
    return {
        "start": (
            "Next: opencode-manager mcp-config --client CLIENT   connects your MCP client\n"
            f"      opencode-manager logs {name} -f   follows what the agent prints"
        ),
        "stop": f"Everything is kept. Start it again with: opencode-manager start {name}",
        "destroy": f"What it had is kept for {settings.trash_days:.0f} days in {settings.home.trash}",
    }.get(command, "")


async def _wait(settings: Settings, change: SpecChange, seconds: float) -> ProjectResult:
    steps = _Steps(change.name, sys.stderr)

    async def progress(waited: float, result: ProjectResult) -> None:
        steps.show(f"{result.reason}: {result.message}".rstrip(": "), waited)

    try:
        return await client.wait(settings, change, seconds, progress)
    finally:
        steps.end()


class _Steps:
    """Print progress, one line per step; on a terminal the last one shows the elapsed time."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._width = terminal.width(out) if terminal.redraws(out, os.environ) else None
        self._said = ""
        self._open = False
        """Whether the last line has no end yet."""

    def show(self, step: str, waited: float) -> None:
        """Show the state after so many seconds."""
        if not step or (step == self._said and self._width is None):
            return
        line = f"{self._name}: {step}"
        if self._width is None:
            print(line, file=self._out, flush=True)
        else:
            if step != self._said:
                self.end()
            clock = f" ({render.age(waited)})"
            shown = f"{render.cut(line, self._width - len(clock) - 1)}{clock}"
            print(f"\r\033[K{shown}", end="", file=self._out, flush=True)
            self._open = True
        self._said = step

    def end(self) -> None:
        """Write nothing more into this line."""
        if self._open:
            print(file=self._out, flush=True)
            self._open = False
