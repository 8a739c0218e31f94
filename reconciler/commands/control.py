"""Commands that ask for something and wait for it, as the MCP tools do."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from reconciler import client, published, reader, render
from reconciler.settings import UserError

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.client import Wish
    from reconciler.results import Result
    from reconciler.settings import Settings


def start(settings: Settings, options: Namespace) -> int:
    """Want it running."""
    return _await(settings, client.start(settings, options.name, options.git_url, options.ssh_key), options.wait)


def stop(settings: Settings, options: Namespace) -> int:
    """Want it stopped."""
    return _await(settings, client.stop(settings, options.name), options.wait)


def restart(settings: Settings, options: Namespace) -> int:
    """Want it started anew."""
    return _await(settings, client.restart(settings, options.name), options.wait)


def destroy(settings: Settings, options: Namespace) -> int:
    """Want it gone, after asking whoever is at the terminal."""
    confirm = options.name if options.yes else ""
    if not confirm:
        if not sys.stdin.isatty():
            raise UserError(f"cannot ask whether to destroy {options.name} without a terminal: add --yes")
        confirm = input(f"This moves {options.name} to the trash. Its name once more, to go on: ")
    wish = client.destroy(settings, options.name, confirm=confirm, discard_unpushed=options.discard_unpushed)
    return _await(settings, wish, options.wait)


def confirm_missing(settings: Settings, options: Namespace) -> int:
    """They are missing on purpose."""
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


def _await(settings: Settings, wish: Wish, seconds: float) -> int:
    result = asyncio.run(_wait(settings, wish, seconds))
    print(render.render_result(result))
    return {"success": 0, "error": 1}.get(result.status, 2)


async def _wait(settings: Settings, wish: Wish, seconds: float) -> Result:
    said = ""

    async def progress(_waited: float, result: Result) -> None:
        nonlocal said
        text = f"{result.reason}: {result.message}".rstrip(": ")
        if text and text != said:
            said = text
            print(f"{wish.name}: {text}", file=sys.stderr)

    return await client.wait(settings, wish, seconds, progress)
