"""The files of the clone, and nothing outside it.

OpenCode's own file calls are not confined to the clone, trim what they read, and answer an empty text for a missing
file; its search needs `rg`, and stops at ten hits. So files are read here, and contents searched with git.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from reconciler.agents.opencode import own_writes
from reconciler.core.plain_text import plain
from reconciler.mcpkit.failure import ToolFailureError
from reconciler.system import safe_git

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

FILE_BYTES: Final = 100_000
"""Of one file, returned at once."""
LINE_BYTES: Final = 4_000
"""Of one line; the rest of it is left out."""
SEARCH_BYTES: Final = 2 * 2**20
"""Of git's output, after which it is ended."""
SEARCH_LIMIT: Final = 15.0
"""Seconds of one search."""
HIT_CHARS: Final = 300
"""Of one hit's line."""


class CloneError(ToolFailureError):
    """The text is a sentence that begins with "cannot"."""


@dataclass(frozen=True)
class Part:
    """Some lines of a file."""

    path: str
    text: str
    first: int
    """Number of the first line, from 1."""
    last: int
    more: bool
    """There are lines after the last one."""
    size: int
    """Bytes of the whole file."""
    cut: bool
    """A line was too long to return whole."""


@dataclass(frozen=True)
class Hit:
    """One line that matches."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Hits:
    """What a search found."""

    hits: tuple[Hit, ...]
    cut: str
    """Why there may be more; empty: this is all."""


def inside(root: Path, path: str) -> str:
    """Return the path relative to the clone, judged by its text alone.

    Raises:
        CloneError: it leads out of the clone, or into `.git`.
    """
    if not path or not path.isprintable():
        raise CloneError("cannot use this path: it is empty or has control characters in it")
    relative = PurePosixPath(path)
    if relative.is_absolute():
        if not relative.is_relative_to(root):
            raise _outside(path)
        relative = relative.relative_to(root)
    if ".." in relative.parts:
        raise _outside(path)
    if ".git" in relative.parts:
        raise CloneError("cannot read inside .git: it may hold credentials; opencode-vcs-diff shows changes")
    return str(relative)


def read(root: Path, path: str, first: int, count: int) -> Part:
    """Read lines of a text file, from line `first` (1 is the first), at most `count` of them.

    Raises:
        CloneError: it is not a text file inside the clone.
    """
    relative = inside(root, path)
    with _open(root, relative) as file:
        size = os.fstat(file.fileno()).st_size
        if b"\0" in file.read(8192):
            raise CloneError(f"cannot show {relative}: it is a binary file of {size} bytes")
        file.seek(0)
        lines, cut, more = _lines(file, first, count)
    if not lines and first > 1:
        raise CloneError(f"cannot show {relative} from line {first}: it has fewer lines")
    text = b"".join(lines).decode(errors="replace")
    return Part(relative, text, first, first + max(len(lines), 1) - 1, more, size, cut)


async def search(root: Path, pattern: str, limit: int, *, ignore_case: bool) -> Hits:
    """Search for lines that match a regular expression, in tracked and in new files, never in ignored ones.

    Raises:
        CloneError: git refuses the pattern, or cannot be run.
    """
    if not pattern or "\0" in pattern or "\n" in pattern:
        raise CloneError("cannot search for that: give a regular expression for one line")
    # Perl's syntax is what models write (\d, \b, lazy); a git without it still has the extended one.
    for syntax in ("--perl-regexp", "--extended-regexp"):
        found, errors, cut = await _git_grep(root, pattern, syntax, ignore_case=ignore_case)
        if found or "Perl" not in errors:
            break
    if errors and not found:
        raise CloneError(f"cannot search for that, says git: {plain(errors.strip())}")
    hits = _hits(found)
    if len(hits) > limit:
        return Hits(hits[:limit], f"only the first {limit} hits are shown: narrow the pattern")
    return Hits(hits, cut)


def _outside(path: str) -> CloneError:
    return CloneError(f"cannot use {path[:200]!r}: give a path inside the repository, relative to its top")


def _open(root: Path, relative: str) -> BinaryIO:
    """Open a regular file inside the clone; check it before it is opened, and again once it is."""
    top = root.resolve()
    try:
        real = (top / relative).resolve(strict=True)
        _confine(top, real, relative)
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before Python 3.13
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it leads nowhere"
        raise CloneError(f"cannot read {relative}: {reason}; opencode-find-files finds paths") from None
    try:
        _prove(top, descriptor, relative)
    except CloneError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _prove(top: Path, descriptor: int, relative: str) -> None:
    _confine(top, Path(f"/proc/self/fd/{descriptor}").readlink(), relative)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise CloneError(f"cannot read {relative}: it is not a file; opencode-find-files lists files")


def _confine(top: Path, real: Path, relative: str) -> None:
    if not real.is_relative_to(top):
        raise CloneError(f"cannot read {relative}: it is a link that leads out of the repository")
    inside(top, str(real))


def _lines(file: BinaryIO, first: int, count: int) -> tuple[list[bytes], bool, bool]:
    """Return the lines, whether one of them was cut, and whether there are more. Holds one more line at a time."""
    for _ in range(first - 1):
        if not _line(file)[0]:
            return [], False, False
    lines: list[bytes] = []
    total, any_cut = 0, False
    while len(lines) < count and total < FILE_BYTES:
        line, cut = _line(file)
        if not line:
            return lines, any_cut, False
        lines.append(line)
        total += len(line)
        any_cut = any_cut or cut
    return lines, any_cut, bool(file.read(1))


def _line(file: BinaryIO) -> tuple[bytes, bool]:
    """Read the next line, shortened to the limit."""
    line = file.readline(LINE_BYTES)
    if len(line) < LINE_BYTES or line.endswith(b"\n"):
        return line, False
    rest = line
    while rest and not rest.endswith(b"\n"):
        rest = file.readline(2**20)
    return line + b" [line cut]\n", True


async def written_by_opencode(root: Path, names: Iterable[str]) -> frozenset[str]:
    """Return those of these changed files in which OpenCode itself changed something, and nobody anything else."""
    found = [name for name in names if own_writes.known(name)]
    installed = {name for name in found if name.startswith(f"{own_writes.MODULES}/")}  # thousands, or none
    own: set[str] = set()
    if installed and await asyncio.to_thread(own_writes.is_own, root, own_writes.MODULES, None) is True:
        own |= installed
    for name in set(found) - installed:
        if await asyncio.to_thread(own_writes.is_own, root, name, await _committed(root, name)):
            own.add(name)
    return frozenset(own)


async def _committed(root: Path, path: str) -> str | None:
    """Return the text of a file in HEAD; None when there is none, or none that can be read."""
    command = [*_git(root), "cat-file", "blob", f"HEAD:{path}"]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=_environment(root),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(SEARCH_LIMIT):
            found, _ = await process.communicate()
    except TimeoutError:
        found = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return found.decode(errors="replace") if process.returncode == 0 else None


async def _git_grep(root: Path, pattern: str, syntax: str, *, ignore_case: bool) -> tuple[bytes, str, str]:
    """Run git grep; return its output, its errors, and why it was ended early (empty: it was not)."""
    options = ["--line-number", "--null", "-I", "--no-color", "--untracked", "--exclude-standard"]
    options += ["--no-recurse-submodules", "--full-name", syntax, *(["--ignore-case"] if ignore_case else [])]
    command = [*_git(root), "-c", "grep.threads=1", "grep", *options, "-e", pattern, "--", "."]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=_environment(root),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise CloneError(f"cannot search: git does not run ({error.strerror})") from None
    if process.stdout is None or process.stderr is None:
        raise CloneError("cannot search: git has no output")
    cut = ""
    found = bytearray()
    errors = asyncio.create_task(process.stderr.read(10_000))
    try:
        async with asyncio.timeout(SEARCH_LIMIT):
            while chunk := await process.stdout.read(2**16):
                found += chunk
                if len(found) > SEARCH_BYTES:
                    cut = "there are too many hits to show all: narrow the pattern"
                    break
    except TimeoutError:
        cut = f"the search was ended after {SEARCH_LIMIT:.0f} s: narrow the pattern"
    finally:
        if process.returncode is None and (cut or not process.stdout.at_eof()):
            process.kill()
        said = (await errors).decode(errors="replace")
        await process.wait()
    return bytes(found), said, cut


def _git(root: Path) -> tuple[str, ...]:
    return ("git", "--no-pager", "-C", str(root), *safe_git.OFFLINE_OPTIONS)


def _environment(root: Path) -> dict[str, str]:
    return safe_git.offline_environment(GIT_CEILING_DIRECTORIES=str(root.parent))


def _hits(found: bytes) -> tuple[Hit, ...]:
    """Parse lines `path NUL number NUL text`."""
    hits = []
    for line in found.decode(errors="replace").split("\n"):
        path, number, text = [*line.split("\0", 2), "", ""][:3]
        if number.isdecimal():
            hits.append(Hit(path, int(number), text[:HIT_CHARS] + ("..." if len(text) > HIT_CHARS else "")))
    return tuple(hits)
