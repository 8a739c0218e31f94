"""Say who committed a spec, where the specs folder belongs to a git repository. Blocking: some milliseconds."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING, Final

from reconciler.core.history import Author, Via
from reconciler.system import safe_git

if TYPE_CHECKING:
    from pathlib import Path

_COMMITS: Final = 1000
"""Those that are searched, the newest first, for who changed a file last."""
_TIMEOUT: Final = 10.0
_FORMAT: Final = "--format=%x01%h%x01%an"


class CommitAuthors:
    """The authors of the specs as the checked-out commit has them, read once for each commit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = False
        self._head = ""
        self._texts: dict[str, str] = {}
        """By file name, git's id of its committed text."""
        self._authors: dict[str, Author] = {}

    def expire(self) -> None:
        """Have the commit that is checked out read again when somebody is asked for."""
        self._fresh = False

    def _refresh(self) -> None:
        self._fresh = True
        try:
            head = self._git("rev-parse", "HEAD").strip() if self._is_repository() else ""
            if head != self._head:
                self._texts = _texts(self._git("ls-tree", "-z", "HEAD", ".")) if head else {}
                log = (
                    "log",
                    "-n",
                    str(_COMMITS),
                    "-z",
                    "--no-renames",
                    "--name-only",
                    "--relative",
                    _FORMAT,
                    "--",
                    ".",
                )
                self._authors = _authors(self._git(*log)) if head else {}
                self._head = head
        except (OSError, subprocess.SubprocessError):  # no git, or one that knows of no commit: nobody can be named
            self._head, self._texts, self._authors = "", {}, {}

    def author(self, file: str, data: bytes) -> Author | None:
        """Return who committed this text last; None: it is not the committed one, or nobody knows.

        Args:
            file: name of the file in the folder.
            data: its content.
        """
        if not self._fresh:
            self._refresh()
        committed = self._texts.get(file, "")
        kind = hashlib.sha256 if len(committed) == 64 else hashlib.sha1
        text = kind(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return self._authors.get(file) if text == committed else None

    def _is_repository(self) -> bool:
        return any((place / ".git").exists() for place in (self._folder, *self._folder.absolute().parents))

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *safe_git.OFFLINE_OPTIONS, "-c", "safe.directory=*", *arguments],
            cwd=self._folder,
            env=safe_git.offline_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=True,
        )
        return done.stdout.decode(errors="replace")


def _texts(listing: str) -> dict[str, str]:
    """Return the ids of the files that `ls-tree -z` lists."""
    entries = (entry.partition("\t") for entry in listing.split("\0") if entry)
    return {name: about.split()[2] for about, _, name in entries if about.split()[1] == "blob"}


def _authors(log: str) -> dict[str, Author]:
    """Return who changed each file last; a field that begins as `_FORMAT` does is a commit, and its files follow."""
    found: dict[str, Author] = {}
    author = Author(Via.GIT)
    for field in log.split("\0"):
        line = field.strip("\n")
        if line.startswith("\x01"):
            _, commit, name = line.split("\x01", 2)
            author = Author(Via.GIT, name, commit)
        elif line:
            found.setdefault(line, author)
    return found
