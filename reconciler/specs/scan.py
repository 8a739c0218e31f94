"""What lies in the folder of spec files at one moment.

Belongs here: one cheap look, a scandir and a stat an entry. Does not belong here: opening a file, or believing one
(`specfiles`). It loads nothing heavy, so that the controller can look before it loads the rest of itself.
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
    """The version of a file: while it stays the same, nobody has touched the file."""

    mtime_ns: int
    size: int
    inode: int
    device: int
    ctime_ns: int

    @property
    def text(self) -> str:
        """The same as one word, for what is published."""
        return "-".join(map(str, self))


NEVER_SEEN: Final = Token(0, 0, 0, 0, 0)
"""The version of what nobody could look at as it was."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What lies in the folder at one moment."""

    readable: bool = True
    """False: nothing is known. It never means that the specs are gone."""
    problem: str = ""
    """Why it is not readable."""
    files: Mapping[str, Token] = field(default_factory=dict)
    """By project name."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Project names whose entry is there and is no file that can be read, and why."""
    warnings: tuple[str, ...] = ()
    """Sentences about entries that look like specs, or are another tool's, and are not taken for a spec."""
    linked: bool = False
    """Whether a spec file is a link, or has another name: when it changes there, no watch of the folder tells."""

    @property
    def watchable(self) -> bool:
        """Whether a watch of the folder would tell of all that can change here."""
        return self.readable and not self.linked and not self.unusable


@dataclass(frozen=True)
class FirstLook:
    """A look, and when it was: monotonic time."""

    at: float
    scan: Scan


def first_look(folder: Path) -> FirstLook:
    """Look now, to be compared with later: what has not changed until then has settled meanwhile."""
    return FirstLook(time.monotonic(), scan(folder))


def scan(folder: Path) -> Scan:
    """Look at the folder: one scandir, one stat an entry (10 microseconds each), nothing is opened."""
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
    """Whether it is one to look into: links are followed, what is hidden is not."""
    try:
        return not entry.name.startswith(".") and entry.name.isprintable() and entry.is_dir()
    except OSError:
        return False


def spec_path(folder: Path, name: str) -> Path:
    """The spec file of this project."""
    return folder / f"{name}{SUFFIX}"


def token_of(about: os.stat_result) -> Token:
    """The version of the file this stat result is about."""
    return Token(about.st_mtime_ns, about.st_size, about.st_ino, about.st_dev, about.st_ctime_ns)


def _look_at(entry: os.DirEntry[str]) -> os.stat_result | str:
    """What there is to know of a file, or why it cannot be read; nothing when it is gone already.

    A link is followed, so that a change of its target is a change of the spec.
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
    """Why, as a clause."""
    return "it does not exist" if error.errno == errno.ENOENT else (error.strerror or str(error)).lower()
