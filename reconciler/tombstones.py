"""Spec files at the end of their life: the tombstone of a destroyed project, and the one that just vanished.

Belongs here: whether a tombstone is ours to remove, removing it, and a person's word that missing files are meant.
Does not belong here: deciding to destroy or to stop (`plan`, `loop`).
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from reconciler import files, specfiles, specwrites
from reconciler.spec import State

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.settings import Home, Settings


class Tombstones:
    """The tombstones of one specs folder."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.specs
        self._home = settings.home

    def look(self, name: str) -> tuple[bool, bool]:
        """Whether there is a file, and whether it is ours to remove: one that git tracks is a person's."""
        if not specfiles.spec_path(self._folder, name).is_file():
            return False, False
        return True, not specwrites.tracked_by_git(self._folder, name)

    def remove(self, name: str) -> None:
        """Move the file to the trash: somebody may have written it by hand. One that says otherwise by now stays."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        place = self._home.trash / f"{name}-{stamp}-spec"
        path = specfiles.spec_path(self._folder, name)
        with specwrites.locked(self._home):
            match specfiles.read_now(self._folder, name):
                case specfiles.Accepted(spec=spec) if spec.wanted is State.ABSENT:
                    files.replace_file(files.private_folder(place) / path.name, path.read_bytes())
                    path.unlink()


def confirm_missing(home: Home, name: str) -> None:
    """A person says that the spec file of this project is missing on purpose."""
    files.private_folder(_confirmed(home) / name)


def missing_confirmed(home: Home, name: str) -> bool:
    """Whether a person said so."""
    return (_confirmed(home) / name).is_dir()


def forget_confirmation(home: Home, name: str) -> None:
    """It was acted on; a later loss is another question."""
    with contextlib.suppress(OSError):  # there is none, or it stays for the next time
        (_confirmed(home) / name).rmdir()


def _confirmed(home: Home) -> Path:
    return home.controller / "confirmed-missing"
