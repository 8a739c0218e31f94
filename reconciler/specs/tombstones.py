"""Remove tombstones of destroyed projects, and record a user's confirmation that a spec file is missing on purpose."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from reconciler.core.spec import State
from reconciler.settings import UserError
from reconciler.specs import spec_folder, writer, yaml_reader
from reconciler.system import files

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.settings import Home, Settings


class Tombstones:
    """The tombstones of one specs folder."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.specs
        self._home = settings.home

    def look(self, name: str) -> tuple[bool, bool]:
        """Tell whether there is a tombstone, and whether we may remove it: one that git tracks is the user's."""
        if not spec_folder.spec_path(self._folder, name).is_file():
            return False, False
        return True, not writer.tracked_by_git(self._folder, name)

    def remove(self, name: str) -> None:
        """Move the file to the trash, as somebody may have written it by hand. One that changed meanwhile stays."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        place = self._home.trash / f"{name}-{stamp}-spec"
        path = spec_folder.spec_path(self._folder, name)
        with writer.locked(self._home):
            if not _is_tombstone(path, path.name):
                return
            # Out of every editor's way first: what is saved from here on is a new file.
            aside = path.with_name(f".{path.name}.gone")
            path.rename(aside)
            if _is_tombstone(aside, path.name):
                files.replace_file(files.private_folder(place) / path.name, aside.read_bytes())
                aside.unlink()
            else:
                _put_back(aside, path, place)


def _is_tombstone(path: Path, label: str) -> bool:
    """Tell whether this file, which messages call `label`, asks for its project to be destroyed."""
    try:
        return yaml_reader.parse_text(yaml_reader.decode(path.read_bytes(), label), label).wanted is State.ABSENT
    except (OSError, UserError):
        return False


def _put_back(aside: Path, path: Path, trash: Path) -> None:
    """Put back a file that was saved at the last moment. If a newer one exists by now, it goes to the trash."""
    try:
        os.link(aside, path, follow_symlinks=False)
    except FileExistsError:
        files.replace_file(files.private_folder(trash) / path.name, aside.read_bytes())
    aside.unlink()


def confirm_missing(home: Home, name: str) -> None:
    """Record that the spec file of this project is missing on purpose."""
    files.private_folder(_confirmed(home) / name)


def missing_confirmed(home: Home, name: str) -> bool:
    """Tell whether a person confirmed it."""
    return (_confirmed(home) / name).is_dir()


def forget_confirmation(home: Home, name: str) -> None:
    """Remove the confirmation after it was acted on; a later loss needs a new one."""
    with contextlib.suppress(OSError):  # there is none, or it stays for the next time
        (_confirmed(home) / name).rmdir()


def _confirmed(home: Home) -> Path:
    return home.controller / "confirmed-missing"
