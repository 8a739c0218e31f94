"""Scan the specs folder: one scandir and one stat per entry, without opening a file.

Imports nothing heavy, so that the controller can scan before it has loaded its libraries.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler.core.names import valid_name
from reconciler.specs import ignored
from reconciler.specs.ignored import SUFFIX as SUFFIX  # noqa: PLC0414  exported again

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Token(NamedTuple):
    """The version of a file: while it stays the same, nobody has modified the file."""

    mtime_ns: int
    size: int
    inode: int
    device: int
    ctime_ns: int

    @property
    def text(self) -> str:
        """Return the same as one word, for publishing."""
        return "-".join(map(str, self))


NEVER_SEEN: Final = Token(0, 0, 0, 0, 0)
"""The version of an entry that could not be examined."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The entries of the folder at one moment."""

    readable: bool = True
    """False: nothing is known. It never means that the specs are gone."""
    problem: str = ""
    """Why it is not readable."""
    files: Mapping[str, Token] = field(default_factory=dict)
    """By project name."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Project names whose entry exists but is not a readable file, and why."""
    warnings: tuple[str, ...] = ()
    """Notes about entries that look like specs, or are another tool's, and are not read."""
    linked: bool = False
    """Whether a spec file is a link, or has another name: when it changes there, no watch of the folder tells."""

    @property
    def watchable(self) -> bool:
        """Tell whether a watch of the folder reports every possible change."""
        return self.readable and not self.linked and not self.unusable


@dataclass(frozen=True)
class FirstLook:
    """A scan and its time (monotonic)."""

    at: float
    scan: Scan


def first_look(folder: Path) -> FirstLook:
    """Scan now, so that whatever is unchanged at a later scan counts as settled meanwhile."""
    return FirstLook(time.monotonic(), scan(folder))


def scan(folder: Path) -> Scan:
    """Scan the folder: one scandir, one stat per entry (10 microseconds each); nothing is opened."""
    files: dict[str, Token] = {}
    unusable: dict[str, str] = {}
    others: list[os.DirEntry[str]] = []
    folders: list[os.DirEntry[str]] = []
    linked = False
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                if dot + suffix != SUFFIX or not valid_name(stem):
                    (folders if _is_folder(entry) else others).append(entry)
                    continue
                found = _look_at(entry)
                if isinstance(found, os.stat_result):
                    files[stem] = token_of(found)
                    linked = linked or found.st_nlink > 1 or entry.is_symlink()
                elif found:
                    unusable[stem] = found
    except OSError as error:
        return Scan(readable=False, problem=f"cannot read the specs folder {folder}: {reason(error)}")
    notes = [*filter(None, (ignored.misnamed(entry.name, files) for entry in others)), *ignored.in_folders(folders)]
    return Scan(files=files, unusable=unusable, warnings=tuple(sorted(notes)), linked=linked)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether this is a folder to search: links are followed, hidden folders are not."""
    try:
        return not entry.name.startswith(".") and entry.name.isprintable() and entry.is_dir()
    except OSError:
        return False


def spec_path(folder: Path, name: str) -> Path:
    """Return the path of this project's spec file."""
    return folder / f"{name}{SUFFIX}"


def token_of(about: os.stat_result) -> Token:
    """Return the version of the file that this stat result describes."""
    return Token(about.st_mtime_ns, about.st_size, about.st_ino, about.st_dev, about.st_ctime_ns)


def _look_at(entry: os.DirEntry[str]) -> os.stat_result | str:
    """Return what is known of a file, or why it cannot be read; None when it is already gone.

    Links are followed, so that a change of the target is a change of the spec.
    """
    try:
        about = entry.stat()
    except FileNotFoundError:
        return f"cannot read {entry.name}: it is a link to nowhere" if os.path.islink(entry.path) else ""  # noqa: PTH114  no pathlib in the hot loop
    except OSError as error:
        return f"cannot read {entry.name}: {reason(error)}"
    if not stat.S_ISREG(about.st_mode):
        return f"cannot read {entry.name}: it is not a regular file"
    return about


def reason(error: OSError) -> str:
    """Return why, as a clause."""
    return "it does not exist" if error.errno == errno.ENOENT else (error.strerror or str(error)).lower()
