"""Create and edit spec files for tools and the command line, safe against concurrent edits and crashes.

All our writers take one lock; an editor does not. So a text is replaced only while it is the one that was read: the two
files exchange names in one step, and when another text comes out than was read, it is put back.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.core.names import refused_name, valid_name
from reconciler.settings import UserError
from reconciler.specs import authors, patch, yaml_reader
from reconciler.specs.spec_folder import (
    NEVER_SEEN,
    Token,
    expected_digest_path,
    remove_expected_digest,
    spec_path,
    token_of,
)
from reconciler.system import announcements, exchange_file, safe_git
from reconciler.system.files import LockFile, LockHeld, private_folder, replace_file, sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.core.history import Author
    from reconciler.settings import Home

_LOCK_LIMIT: Final = 5.0
"""Seconds; the lock is held for milliseconds."""
_GIT_LIMIT: Final = 5.0
_ATTEMPTS: Final = 3
_EXCHANGES: Final = 20
"""Attempts to put back a concurrent save while saves go on: each takes 50 microseconds."""
_NO_EXCHANGE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


class SpecExistsError(UserError):
    """There is a spec of this name already."""


class SpecMissingError(UserError):
    """There is no spec of this name."""


@dataclass(frozen=True)
class WrittenSpec:
    """A spec as it is on disk now."""

    token: Token
    """The version of the file."""
    digest: str
    """Of what it means: the spec's own digest, as the ledger has it once it is accepted."""
    changed: bool
    """False: the text was the same, and the file was touched, which requests a pass now."""


def new_text(git_url: str, ssh_key: str | None = None) -> str:
    """Return the text of a new spec: only what differs from the defaults."""
    lines = ["git:", f"  url: {patch.scalar_text(git_url)}"]
    if ssh_key is not None:
        lines.append(f"  ssh_key: {patch.scalar_text(ssh_key)}")
    return "\n".join(lines) + "\n"


def create(folder: Path, home: Home, name: str, text: str, author: Author | None = None) -> WrittenSpec:
    """Write a new spec file; create the folder if it is missing.

    Raises:
        SpecExistsError: there is one.
        SpecFileError: the text is not a spec.
        UserError: it cannot be written.
    """
    path = _checked_path(folder, name)
    digest = yaml_reader.parse_text(text, path.name).digest()
    with _sentences(path), locked(home):
        folder.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            raise SpecExistsError(f"cannot create {path}: it exists")
        data = text.encode()
        with _trusted(home, name, data, author):
            _write_new(path, data)
        announcements.announce(folder)
        return WrittenSpec(_version(path), digest, changed=True)


def edit(
    folder: Path, home: Home, name: str, changes: Mapping[patch.Path, patch.Scalar], author: Author | None = None
) -> WrittenSpec:
    """Set values in a spec file, by key path, and leave everything else as it is.

    Raises:
        SpecMissingError: there is no such file.
        SpecFileError: the file is not a spec, or would not be one afterwards.
        UserError: it cannot be changed in place, or not be written.
    """
    path = _checked_path(folder, name)
    with _sentences(path), locked(home):
        # A link was put there on purpose: what it points to is changed, beside itself. Nothing else is followed.
        target = path.resolve(strict=True) if path.is_symlink() else path
        for _ in range(_ATTEMPTS):
            written = _edit_once(target, home, name, changes, author)
            if written is not None:
                announcements.announce(folder)
                return written
    raise UserError(f"cannot edit {path}: somebody else keeps changing it; try again")


def rewrite(folder: Path, home: Home, name: str, old: bytes, text: str, author: Author | None = None) -> WrittenSpec:
    """Replace the whole text of a spec file, as a person has edited it.

    Args:
        folder: the specs folder.
        home: of the manager.
        name: of the project.
        old: the text that was edited: another one in the file is kept.
        text: the new one.
        author: who edited it.

    Raises:
        SpecMissingError: there is no such file.
        SpecFileError: the text is not a spec.
        UserError: the file has changed, or cannot be written.
    """
    path = _checked_path(folder, name)
    digest, new = yaml_reader.parse_text(text, path.name).digest(), text.encode()
    with _sentences(path), locked(home):
        target = path.resolve(strict=True) if path.is_symlink() else path
        mode = stat.S_IMODE(target.stat().st_mode)
        if target.read_bytes() == old:
            with _trusted(home, name, new, author):
                if _replace(target, old, new, mode=mode):
                    announcements.announce(folder)
                    return WrittenSpec(_version(target), digest, changed=True)
                remove_expected_digest(home, name)
    raise UserError(f"cannot write {path}: somebody else has changed it meanwhile; edit it again")


def tracked_by_git(folder: Path, name: str) -> bool:
    """Tell whether git tracks this spec file. If git cannot tell, it counts as tracked: keeping it loses nothing."""
    pathspec = ("--", spec_path(Path(), name).name)
    command = ("git", *safe_git.OFFLINE_OPTIONS, "-c", "safe.directory=*", "ls-files", "--error-unmatch", *pathspec)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=safe_git.offline_environment(GIT_LITERAL_PATHSPECS="1"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_LIMIT,
            check=False,
        )
    except FileNotFoundError:  # there is no git here, or no folder
        return False
    except (OSError, subprocess.SubprocessError):  # too many open files, no memory, no answer: it may well be tracked
        return True
    if done.returncode == 1 and b"did not match any file" in done.stderr:
        return False
    outside = done.returncode == 128 and b"not a git repository (or any" in done.stderr
    # A repository that is damaged, or beyond a mount point, is none to git: its .git tells that there is one.
    return not outside or any(
        os.path.lexists(place / ".git") for place in (folder.resolve(), *folder.resolve().parents)
    )


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the lock of all writers of the specs folder. Blocks for a few seconds at most: not for an event loop.

    Raises:
        UserError: somebody else held it all the time.
    """
    path = private_folder(home.controller) / "specs.lock"
    deadline = time.monotonic() + _LOCK_LIMIT
    while (lock := _try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise UserError(f"cannot write specs: another program has held {path} for {_LOCK_LIMIT:.0f} seconds")
        # The kernel has no lock with a time limit: nothing else can be waited for.
        threading.Event().wait(0.01)
    try:
        yield
    finally:
        lock.close()


def _try_lock(path: Path) -> LockFile | None:
    try:
        return LockFile(path)
    except LockHeld:
        return None


def _edit_once(
    path: Path, home: Home, name: str, changes: Mapping[patch.Path, patch.Scalar], author: Author | None
) -> WrittenSpec | None:
    """Read, change and write; return None when somebody else changed the file meanwhile."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise UserError(f"cannot edit {path}: it is not a regular file")
    data = path.read_bytes()
    label = spec_path(Path(), name).name
    text = patch.patch_text(yaml_reader.decode(data, label), changes, label=label)
    digest = yaml_reader.parse_text(text, label).digest()
    new = text.encode()
    if path.read_bytes() != data:
        return None
    with _trusted(home, name, new, author):
        if new == data:
            os.utime(path)
        elif not _replace(path, data, new, mode=stat.S_IMODE(about.st_mode)):
            remove_expected_digest(home, name)
            return None
    return WrittenSpec(_version(path), digest, changed=new != data)


def _replace(path: Path, old: bytes, new: bytes, *, mode: int) -> bool:
    """Replace the old text by the new one; return False, with their text in place, if somebody else wrote meanwhile."""
    beside = path.with_name(f".{path.name}.new")
    replace_file(beside, new, mode=mode)
    put, expected = new, old
    for _ in range(_EXCHANGES):
        try:
            exchange_file.exchange(str(beside), str(path))
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                beside.unlink()
                raise
            return _replace_or_not(path, beside, old)
        found = beside.read_bytes()
        if found == expected:
            beside.unlink()
            sync(path.parent)
            return put is new
        put, expected = found, put
    raise UserError(f"cannot edit {path}: somebody else keeps changing it; their last text is in {beside}")


def _replace_or_not(path: Path, beside: Path, old: bytes) -> bool:
    """Replace it where two files cannot exchange names in one step: an edit within one instant can be lost."""
    same = path.read_bytes() == old
    if same:
        beside.replace(path)
        sync(path.parent)
    else:
        beside.unlink()
    return same


def _version(path: Path) -> Token:
    """Return the version of the written file. It may be gone already, as a tombstone of an empty project is."""
    try:
        return token_of(path.stat())
    except FileNotFoundError:
        return NEVER_SEEN


def _write_new(path: Path, data: bytes) -> None:
    """Put a new file in place unless there is one by now: a hard link never replaces, as a rename would."""
    temporary = path.with_name(f".{path.name}.new")
    replace_file(temporary, data, mode=0o644 & ~_umask())
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise SpecExistsError(f"cannot create {path}: it exists") from None
    finally:
        temporary.unlink()
    sync(path.parent)


@contextmanager
def _trusted(home: Home, name: str, data: bytes, author: Author | None) -> Iterator[None]:
    """Record the hash of a text that is about to be written, and who writes it; remove it when writing failed."""
    _record_digest(home, name, data, author)
    try:
        yield
    except BaseException:
        remove_expected_digest(home, name)
        raise


def _record_digest(home: Home, name: str, data: bytes, author: Author | None) -> None:
    path = expected_digest_path(home, name)
    private_folder(path.parent)
    replace_file(path, authors.note(hashlib.sha256(data).hexdigest(), author).encode(), durable=False)


def _checked_path(folder: Path, name: str) -> Path:
    if not valid_name(name):
        raise UserError(refused_name(name))
    return spec_path(folder, name)


def _umask() -> int:
    """Return the umask of this process: asking the kernel would change it for an instant, for all threads."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("\nUmask:")[2].split()[0], 8)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn errors of the file system into sentences for the user."""
    try:
        yield
    except FileNotFoundError as error:
        if str(error.filename) == str(path):
            raise SpecMissingError(f"cannot edit {path}: it does not exist") from None
        raise UserError(f"cannot write {path}: {error.filename} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
