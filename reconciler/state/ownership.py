"""Refuse to use a home folder of another user, before anything is created in it.

Files that root leaves in a user's home are locks and records which that user can neither read nor replace.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.settings import HOME_VARIABLE, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.settings import Settings


def refuse_foreign_home(settings: Settings) -> None:
    """Raise UserError if a folder of the home belongs to another user. A home that does not exist yet has no owner."""
    environment = settings.environment
    if not environment.get(HOME_VARIABLE) and not settings.home.root.parent.is_dir():
        raise UserError(
            f"cannot use {settings.home.root.parent} as the home folder: there is no such folder; "
            f"make it, or set {HOME_VARIABLE}"
        )
    me = os.geteuid()
    for folder in _folders(settings):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            owner = folder.stat().st_uid
            if owner != me:
                raise UserError(
                    f"cannot use {folder}: it belongs to {_name(owner)}, and this is {_name(me)}; "
                    f"run it as {_name(owner)}, make {_name(me)} its owner, or set {HOME_VARIABLE} to another folder"
                )


def _folders(settings: Settings) -> Iterator[Path]:
    home = settings.home
    yield home.root
    yield from (home.controller, home.sandboxes, home.keys, home.logs, home.toolchains, home.trash)
    with contextlib.suppress(OSError), os.scandir(home.sandboxes) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_dir())


def _name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
