"""Read and write files of git settings, and judge their conditional includes as git does.

Belongs here: the format, and git's rules for it. What of it a project is given, `git_config` decides.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler.engines.local.git.causes import GitProblem, GitProblemKind, problem
from reconciler.engines.local.git.subprocesses import Completed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_SIZE: Final = 2**20
"""Bytes of one file."""
_DEPTH: Final = 10
"""Of includes within includes, as for git."""
_TIMEOUT: Final = 20.0
"""Seconds to read one file: a home may lie on another machine."""

Stamp = tuple[int, ...] | None
"""What identifies a state of a file; None where there is none."""


class Setting(NamedTuple):
    """One setting."""

    key: str
    """As git prints it: section and name in small letters."""
    value: str | None
    """None: the key stands alone, which means true."""


_parsed: dict[tuple[Path, Stamp], tuple[Setting, ...]] = {}
"""Files in the state in which they were read last: many projects share the user's."""
_reading: Final = threading.Lock()
"""Held while a file is read: of all the projects that want it at once, the first reads it for the others."""


def stamp(path: str | Path) -> Stamp:
    """Return what identifies the state of what a path leads to."""
    try:
        found = os.stat(path)  # noqa: PTH116  for every project every few seconds
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


class Reader:
    """Read one person's settings as they apply in one clone.

    Args:
        home: of whose settings these are: what `~` means in them.
        gitdir: of the clone, which need not be there yet.
        url: of its remote.
        path: PATH, to find git.
    """

    def __init__(self, *, home: Path, gitdir: Path, url: str, path: str) -> None:
        self._home = home
        self._gitdirs = (str(gitdir.parent.resolve() / gitdir.name), str(gitdir))
        self._url = url
        self._path = path
        self.consulted: dict[str, Stamp] = {}
        """Every file that was, or would have been, read; by text, as it is asked for often."""
        self.undecided: list[str] = []
        """Conditions that depend on more than the place of the clone and its remote."""

    def system(self) -> Iterator[Setting]:
        """Return what the administrator set for everybody.

        Raises:
            GitProblem: that file cannot be read.
        """
        yield from self.file(_system_file(self._path))

    def file(self, path: Path, depth: int = 0) -> Iterator[Setting]:
        """Return what a file says, includes and all; nothing where there is none.

        Raises:
            GitProblem: it cannot be read.
        """
        self.look(path)
        for setting in parse(path, self._path):
            section, _, name = setting.key.rpartition(".")
            if name != "path" or not (section == "include" or section.startswith("includeif.")):
                yield setting
            elif setting.value and depth < _DEPTH and self._applies(section.removeprefix("includeif."), path):
                yield from self.file(path.parent / self.expanded(setting.value), depth + 1)

    def look(self, path: Path) -> Stamp:
        """Return the state of a file, and note that it counts."""
        found = self.consulted[str(path)] = stamp(path)
        return found

    def expanded(self, value: str) -> str:
        """Return a path with what `~` means to the one whose settings these are."""
        return f"{self._home}{value[1:]}" if value == "~" or value.startswith("~/") else value

    def _applies(self, condition: str, file: Path) -> bool:
        kind, _, rest = condition.partition(":")
        match kind.lower():
            case "include":
                return True
            case "gitdir" | "gitdir/i":
                return self._is_here(rest, file, fold=kind.endswith("i"))
            case "hasconfig" if rest.startswith("remote.*.url:"):
                return matches(rest.removeprefix("remote.*.url:"), self._url)
            case _:
                self.undecided.append(condition)
                return False

    def _is_here(self, pattern: str, file: Path, *, fold: bool) -> bool:
        """Tell whether a condition names the place of the clone, where it has to be judged before there is a clone."""
        prefix = ""
        if pattern.startswith("~/"):
            prefix, pattern = f"{self._home.resolve()}/", pattern[2:]
        elif pattern.startswith("./"):
            prefix, pattern = f"{file.resolve().parent}/", pattern[2:]
        elif not pattern.startswith("/"):
            pattern = f"**/{pattern}"
        pattern += "**" if pattern.endswith("/") or not pattern else ""
        return any(matches(pattern, place, prefix, fold=fold) for place in self._gitdirs)


def parse(path: Path, search: str) -> tuple[Setting, ...]:
    """Return what one file says, without its includes; nothing where there is none.

    Raises:
        GitProblem: it cannot be read.
    """
    state = stamp(path)
    if state is None:
        return ()
    with _reading:
        return _parsed_once(path, state, search)


def forget(folder: Path) -> None:
    """Drop what is kept of files below a folder."""
    for key in [key for key in list(_parsed) if key[0].is_relative_to(folder)]:
        _parsed.pop(key, None)


def _parsed_once(path: Path, state: Stamp, search: str) -> tuple[Setting, ...]:
    if (path, state) not in _parsed:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_SIZE:
            message = f"cannot read git settings: {path} is no file of at most {MAX_SIZE} bytes"
            raise GitProblem(GitProblemKind.SETUP, message, "put a file of git settings there, or remove it")
        result = _git(("--file", str(path), "--no-includes", "--list", "-z"), search)
        if result.code != 0:
            raise problem("read git settings", result, GitProblemKind.SETUP)
        for old in [one for one in list(_parsed) if one[0] == path]:
            _parsed.pop(old, None)
        _parsed[path, state] = tuple(_settings(result.out))
    return _parsed[path, state]


def _settings(out: str) -> Iterator[Setting]:
    for entry in filter(None, out.split("\0")):
        key, newline, value = entry.partition("\n")
        yield Setting(key, value if newline else None)


@functools.cache
def _system_file(path: str) -> Path:
    """Return the file for everybody: where it is was decided when git was built, and git tells it by what it reads."""
    out = _git(("--system", "--no-includes", "--show-origin", "--list", "-z"), path)
    origin = out.out.partition("\0")[0] if out.code == 0 else ""
    return Path(origin.removeprefix("file:") or "/etc/gitconfig")


def _git(arguments: tuple[str, ...], path: str) -> Completed:
    """Run `git config` in nobody's world. Called off the event loop."""
    env = {"PATH": path, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": os.devnull}
    argv = ("git", "config", *arguments)
    try:
        done = subprocess.run(
            argv, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        message = f"cannot read git settings: git did not end within {_TIMEOUT:.0f} s"
        raise GitProblem(GitProblemKind.UNREACHABLE, message) from None
    except FileNotFoundError:
        raise GitProblem(GitProblemKind.SETUP, "cannot run git: it is not on PATH", "install git") from None
    # Bytes that are no UTF-8 go through as they are: a name may have been written long ago.
    texts = [stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr)]
    return Completed(code=done.returncode, out=texts[0], err=texts[1])


def written(settings: Iterable[Setting]) -> bytes:
    """Return a file that says just this."""
    lines = []
    for key, value in settings:
        section, _, rest = key.partition(".")
        subsection, dot, name = rest.rpartition(".")
        escaped = subsection.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'[{section} "{escaped}"]\n' if dot else f"[{section}]\n")
        lines.append(f"\t{name}\n" if value is None else f'\t{name} = "{_escaped(value)}"\n')
    return "".join(lines).encode(errors="surrogateescape")


def _escaped(value: str) -> str:
    for plain, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\b", "\\b")):
        value = value.replace(plain, escape)
    return value


def matches(pattern: str, text: str, prefix: str = "", *, fold: bool = False) -> bool:
    """Tell whether a text is the prefix and what a pattern of git means (its wildmatch, for paths)."""
    found, at = [re.escape(prefix)], 0
    while at < len(pattern):
        piece, at = _piece(pattern, at)
        found.append(piece)
    return re.fullmatch("".join(found), text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def _piece(pattern: str, at: int) -> tuple[str, int]:
    """Return one piece of a pattern as a regular expression, and where the next one begins."""
    rest, begins = pattern[at:], at == 0 or pattern[at - 1] == "/"
    if begins and rest.startswith("**/"):
        return "(?:.*/)?", at + 3
    if begins and rest == "**":
        return ".*", at + 2
    if stars := re.match(r"\*+", rest):
        return "[^/]*", at + stars.end()
    if rest[0] == "?":
        return "[^/]", at + 1
    if group := re.match(r"\[([!^]?)(\]?(?:\\.|[^\]\\])*)\]", rest):
        inside = re.sub(r"(?<!\\)\[", r"\\[", group[2])
        inside = f"\\{inside}" if inside.startswith("]") else inside
        return f"(?!/)[{'^' if group[1] else ''}{inside}]", at + group.end()
    if rest[0] == "\\" and len(rest) > 1:
        return re.escape(rest[1]), at + 2
    return re.escape(rest[0]), at + 1
