"""Read the specs folder: turn scans into accepted, rejected and vanished specs.

A file is accepted only after it has been unchanged for the settle time, because half of a spec is often a spec too. The
exception is a text whose hash one of our own tools recorded before it renamed the file into place. Nothing here waits:
each scan is given the time and returns when the next one is due.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler.core.history import Author, Via
from reconciler.specs import authors, ignored, yaml_reader
from reconciler.specs.commits import CommitAuthors
from reconciler.specs.scan import (
    NEVER_SEEN,
    SUFFIX,
    FirstLook,
    Scan,
    Token,
    reason,
    scan,
    spec_path,
    token_of,
)
from reconciler.specs.yaml_reader import MAX_BYTES, SpecFileError
from reconciler.system import users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from reconciler.core.spec import Spec
    from reconciler.settings import Home, Settings

__all__ = [
    "NEVER_SEEN",
    "SUFFIX",
    "Accepted",
    "Change",
    "Rejected",
    "Removed",
    "Scan",
    "ScanResult",
    "SpecFolder",
    "Token",
    "Touched",
    "expected_digest_path",
    "read_now",
    "remove_expected_digest",
    "scan",
    "spec_path",
    "token_of",
]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of one project's spec file that the controller must know."""

    name: str
    author: Author = field(default=Author(Via.FILE), compare=False)
    """The tool that wrote it, else the file's owner."""


@dataclass(frozen=True, kw_only=True)
class Accepted(Change):
    """The file has settled and its spec is accepted."""

    spec: Spec
    sha: str
    """SHA-256 of the bytes."""
    token: Token
    lines: Mapping[tuple[str, ...], int]
    """Where each key stands, for messages."""
    trusted: bool = False
    """Whether one of our own tools wrote it, and so a caller waits for the result."""


@dataclass(frozen=True, kw_only=True)
class Rejected(Change):
    """The file cannot be accepted: the last accepted spec stays in force."""

    message: str
    sha: str = ""
    """Empty when the file could not even be read."""
    foreign: bool = False
    """Whether it plainly is a file of another tool, not meant as a project."""


@dataclass(frozen=True, kw_only=True)
class Removed(Change):
    """There is no such file any more."""


@dataclass(frozen=True, kw_only=True)
class Touched(Change):
    """The file was touched, or written again with the same text: a request to reconcile the project now."""


@dataclass(frozen=True)
class ScanResult:
    """The result of scanning the folder."""

    scan: Scan
    changes: tuple[Change, ...]
    again: float | None
    """Monotonic time at which something pending is due; None: nothing is pending."""
    unreadable: bool = False
    """Whether a file could not be read: what is in the way may lie elsewhere."""

    @property
    def watchable(self) -> bool:
        """Tell whether a watch of the folder reports every possible change."""
        return self.scan.watchable and not self.unreadable


def expected_digest_path(home: Home, name: str) -> Path:
    """Return where our tools record the hash of a text before they rename it into place."""
    return home.controller / "vouched" / name  # the folder's name stays: tools of another version use it too


def remove_expected_digest(home: Home, name: str) -> None:
    """Remove the hash of a text that was read or never written. Removing it early only costs settle time."""
    with contextlib.suppress(OSError):  # there is none
        expected_digest_path(home, name).unlink()


def read_now(folder: Path, name: str) -> Accepted | Rejected:
    """Return what the file says right now, settled or not: for answering a user, never for acting."""
    found = _read(folder, name)
    if isinstance(found, _Content):
        return _judge(name, found.data, found.token)
    return Rejected(name=name, message=found or f"cannot read {spec_path(folder, name)}: it does not exist")


SLICE: Final = 40
"""Changes that are reported at once: a tool's change must not wait for a thousand others."""


class SpecFolder:
    """Read the folder and wait until each file has settled.

    Args:
        settings: the folder, the home with the recorded hashes, and the two settle times.
        known: projects that had a spec before this process began, so that a file removed meanwhile is seen as vanished.
        first: what was seen before there was a reader: a file settles from then on.
        wall_clock: seconds, as files have them: a hint comes when a file has been quiet for a while already, and that
            counts. Without it, a file settles from when it is first seen.
    """

    def __init__(
        self,
        settings: Settings,
        known: Iterable[str] = (),
        first: FirstLook | None = None,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self._folder = settings.specs
        self._home = settings.home
        self._settle = settings.settle
        self._settle_open = settings.settle_open
        self._wall_clock = wall_clock
        self._commits = CommitAuthors(self._folder)
        self._files: dict[str, _File] = {name: _File(accepted=True) for name in known}
        self._reported: Mapping[str, Token] = {}
        """All files there are, when each was reported as it is and none is awaited: while they stay the same, there is
        nothing to do."""
        if first is not None:
            for name, token in first.scan.files.items():
                file = self._files.setdefault(name, _File())
                file.version, file.since = token, first.at

    def expect(self, names: Iterable[str]) -> bool:
        """Expect these names to have a spec, so that missing ones are reported. Return whether any name is new."""
        new = set(names) - self._files.keys()
        self._files |= {name: _File(accepted=True) for name in new}
        return bool(new)

    def look(self, now: float) -> ScanResult:
        """Scan the folder and return what has changed since the last scan.

        Args:
            now: monotonic time, seconds.
        """
        seen = scan(self._folder)
        if not seen.readable:
            for file in self._files.values():
                file.missing_since = None
            return ScanResult(seen, (), None)
        if seen.files == self._reported and len(self._files) == len(seen.files) and not seen.unusable:
            return ScanResult(self._without_foreign(seen), (), None)
        self._commits.expire()
        changes: list[Change] = []
        due: list[float] = []
        names = self._files.keys() | seen.files.keys() | seen.unusable.keys()
        trusted = names & _trusted_names(self._home)  # somebody waits for these
        for name in (*trusted, *(names - trusted)):
            if len(changes) >= SLICE:
                due.append(now)
                break
            result = self._step(name, seen, now)
            if isinstance(result, float):
                due.append(result)
            elif result is not None:
                changes.append(result)
        self._reported = {} if due else {name: file.reported for name, file in self._files.items() if file.reported}
        unreadable = any(file.problem for file in self._files.values())
        ordered = tuple(sorted(changes, key=lambda each: each.name))
        return ScanResult(self._without_foreign(seen), ordered, min(due, default=None), unreadable)

    def _without_foreign(self, seen: Scan) -> Scan:
        """Return the scan without the files of other tools: they get notes, and no projects."""
        notes = {name: file.foreign for name, file in self._files.items() if file.foreign and name in seen.files}
        if not notes:
            return seen
        files = {name: token for name, token in seen.files.items() if name not in notes}
        return replace(seen, files=files, warnings=tuple(sorted({*seen.warnings, *notes.values()})))

    def _step(self, name: str, seen: Scan, now: float) -> Change | float | None:
        """Examine one file: return what to report, or when it is due, or None where nothing is new."""
        file = self._files.setdefault(name, _File())
        version = seen.files.get(name) or seen.unusable.get(name)
        if version is None:
            return self._missing(name, file, now)
        file.missing_since = None
        if version == file.reported:
            return None
        if version != file.version:
            file.version, file.since = version, now - self._quiet(version)
        if isinstance(version, Token):
            return self._changed(name, file, version, now)
        return self._unreadable(name, file, version) if now >= file.since + self._settle else file.since + self._settle

    def _quiet(self, version: Token | str) -> float:
        """Return the seconds since a file that was not seen so before was changed.

        Watches report a change within twice the settle time. A longer time, or a negative one, is another machine's
        clock or one that was set meanwhile: it does not count.
        """
        if self._wall_clock is None or not isinstance(version, Token):
            return 0.0
        quiet = self._wall_clock() - version.ctime_ns / 1e9
        return quiet if 0.0 < quiet <= 2 * self._settle else 0.0

    def _missing(self, name: str, file: _File, now: float) -> Change | float:
        # Editors and git replace a file by removing it first.
        file.missing_since = now if file.missing_since is None else file.missing_since
        if now < file.missing_since + self._settle_open:
            return file.missing_since + self._settle_open
        del self._files[name]
        remove_expected_digest(self._home, name)
        return Removed(name=name, author=Author(Via.FILE, _owner(self._folder)))

    @staticmethod
    def _unreadable(name: str, file: _File, why: str) -> Change | None:
        # Said once, but tried again at every scan: the cause may lie outside the file.
        if why == file.problem:
            return None
        file.problem, file.sha, file.reported = why, "", None
        file.foreign, file.project = "", True
        return Rejected(name=name, message=why)

    def _changed(self, name: str, file: _File, version: Token, now: float) -> Change | float | None:
        settled = now >= file.since + self._settle
        expected = _expected_digest(self._home, name)
        if not settled and not expected:
            return file.since + self._settle
        found = _read(self._folder, name)
        if found is None:
            return now + self._settle
        if isinstance(found, str):
            return self._unreadable(name, file, found)
        data, token = found.data, found.token
        if token != version:
            file.version, file.since = token, now
            return now + self._settle
        trusted = hashlib.sha256(data).hexdigest() == authors.digest(expected)
        if not trusted:
            wait = self._settle if data.endswith(b"\n") else self._settle_open
            if now < file.since + wait:
                return file.since + wait
        if expected and expected == _expected_digest(self._home, name):  # else a tool has recorded its next text by now
            remove_expected_digest(self._home, name)
        author = authors.author(expected) if trusted else None
        result = self._report(name, file, data, token, trusted=trusted)
        author = author or self._commits.author(f"{name}{SUFFIX}", data)
        return result and replace(result, author=author or Author(Via.FILE, users.name_of(found.owner)))

    @staticmethod
    def _report(name: str, file: _File, data: bytes, token: Token, *, trusted: bool) -> Change | None:
        before, file.reported, file.problem = file.sha, token, ""
        result = _judge(name, data, token)
        file.sha = result.sha
        if isinstance(result, Rejected) and result.foreign and not file.accepted:
            was_project, file.foreign = file.project, result.message
            file.project = False
            return Removed(name=name) if was_project else None
        file.foreign, file.project = "", True
        if result.sha == before:
            return Touched(name=name)
        if isinstance(result, Rejected):
            return result
        file.accepted = True
        return replace(result, trusted=trusted)


@dataclass
class _File:
    """What is remembered of one file. A version is a token, or a sentence where there is nothing to read."""

    version: Token | str = ""
    since: float = 0.0
    """Monotonic time since which it has this version."""
    reported: Token | None = None
    sha: str = ""
    """Of the text reported last."""
    problem: str = ""
    """Why the file could not be read, as reported last; empty since it was read."""
    missing_since: float | None = None
    accepted: bool = False
    """Whether it ever was a spec: then what is in it now is a broken one."""
    project: bool = False
    """Whether anything was reported of it."""
    foreign: str = ""
    """The note about it, when it is another tool's file."""


def _judge(name: str, data: bytes, token: Token) -> Accepted | Rejected:
    sha = hashlib.sha256(data).hexdigest()
    label = f"{name}{SUFFIX}"
    try:
        document = yaml_reader.parse_document(yaml_reader.decode(data, label), label)
    except SpecFileError as error:
        note = ignored.foreign(name, data)
        return Rejected(name=name, message=note or str(error), sha=sha, foreign=bool(note))
    return Accepted(name=name, spec=document.spec, sha=sha, token=token, lines=document.lines)


class _Content(NamedTuple):
    """What a file holds, and whose it is."""

    data: bytes
    token: Token
    owner: int


def _read(folder: Path, name: str) -> _Content | str | None:
    """Return the content, or why there are none; None when there is no file.

    Of a file that is too long only the beginning is read, enough to see that it is.
    """
    path = spec_path(folder, name)
    try:
        # Non-blocking: a pipe put in place of the file must not hold us.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123  a handle
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                return f"cannot read {path.name}: it is not a regular file"
            data = file.read(MAX_BYTES + 1)
            after = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot read {path.name}: {reason(error)}"
    # A file written to while it was read gets no version that anybody has seen.
    return _Content(data, token_of(after) if token_of(before) == token_of(after) else NEVER_SEEN, after.st_uid)


def _owner(folder: Path) -> str:
    try:
        return users.name_of(folder.stat().st_uid)
    except OSError:
        return ""


def _trusted_names(home: Home) -> set[str]:
    try:
        return set(os.listdir(expected_digest_path(home, "any").parent))  # noqa: PTH208  the names are all that is wanted
    except OSError:
        return set()


def _expected_digest(home: Home, name: str) -> str:
    try:
        return expected_digest_path(home, name).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
