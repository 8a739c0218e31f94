"""Writing spec files, for the tools and the CLI.

Belongs here: making a spec and changing values in one, so that a person's text, a concurrent edit and a crash are safe.
Does not belong here: reading for the loop (`specfiles`), how a text is changed (`specpatch`), acting on anything.

All our writers take one lock; a person's editor does not, so a text is only replaced while it is the one that was read:
the two files change names in one step, and when another text comes out than was read, it goes back.
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
from reconciler.specs import patch, yaml_reader
from reconciler.specs.spec_folder import NEVER_SEEN, Token, forget_voucher, spec_path, token_of, vouched_path
from reconciler.system import announcements, exchange_file, safe_git
from reconciler.system.files import LockFile, LockHeld, private_folder, replace_file, sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.settings import Home

_LOCK_LIMIT: Final = 5.0
"""Seconds; the lock is held for milliseconds."""
_GIT_LIMIT: Final = 5.0
_ATTEMPTS: Final = 3
_EXCHANGES: Final = 20
"""Times that a text is put back which somebody saved while another was put back: each takes 50 microseconds."""
_NO_EXCHANGE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


class SpecExistsError(UserError):
    """There is a spec of this name already."""


class SpecMissingError(UserError):
    """There is no spec of this name."""


@dataclass(frozen=True)
class WrittenSpec:
    """What is on disk now."""

    token: Token
    """The version of the file."""
    digest: str
    """Of what it means: the spec's own digest, as the ledger has it once it is accepted."""
    changed: bool
    """False: the text was so already, and the file was touched, which asks the loop to look now."""


def new_text(git_url: str, ssh_key: str | None = None) -> str:
    """The text of a new spec: just what is not a default."""
    lines = ["git:", f"  url: {patch.scalar_text(git_url)}"]
    if ssh_key is not None:
        lines.append(f"  ssh_key: {patch.scalar_text(ssh_key)}")
    return "\n".join(lines) + "\n"


def create(folder: Path, home: Home, name: str, text: str) -> WrittenSpec:
    """Write a new spec file; the folder is made where it is missing.

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
        with _vouched(home, name, data):
            _write_new(path, data)
        announcements.announce(folder)
        return WrittenSpec(_version(path), digest, changed=True)


def edit(folder: Path, home: Home, name: str, changes: Mapping[patch.Path, patch.Scalar]) -> WrittenSpec:
    """Set values in a spec file, by the path of keys, and leave everything else in it as it is.

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
            written = _edit_once(target, home, name, changes)
            if written is not None:
                announcements.announce(folder)
                return written
    raise UserError(f"cannot edit {path}: somebody else keeps changing it; try again")


def tracked_by_git(folder: Path, name: str) -> bool:
    """Whether git keeps this spec file. Where git cannot tell, it counts as kept: a file that stays loses nothing."""
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
    """Hold the lock of all who write in the specs folder. Waits a few seconds at most, so not for an event loop.

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


def _edit_once(path: Path, home: Home, name: str, changes: Mapping[patch.Path, patch.Scalar]) -> WrittenSpec | None:
    """Read, change and write; None when the file was changed by somebody else meanwhile."""
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
    with _vouched(home, name, new):
        if new == data:
            os.utime(path)
        elif not _replace(path, data, new, mode=stat.S_IMODE(about.st_mode)):
            forget_voucher(home, name)
            return None
    return WrittenSpec(_version(path), digest, changed=new != data)


def _replace(path: Path, old: bytes, new: bytes, *, mode: int) -> bool:
    """Put the new text in place of the old one; False when somebody else's was there by then, and is there again."""
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
    """The same where two files cannot change names in one step: there is an instant in which an edit is lost."""
    same = path.read_bytes() == old
    if same:
        beside.replace(path)
        sync(path.parent)
    else:
        beside.unlink()
    return same


def _version(path: Path) -> Token:
    """Of what was written. It may be gone by now, as a tombstone is when nothing of its project is left."""
    try:
        return token_of(path.stat())
    except FileNotFoundError:
        return NEVER_SEEN


def _write_new(path: Path, data: bytes) -> None:
    """Put a whole new file in place unless there is one by now: a link never replaces, as a rename would."""
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
def _vouched(home: Home, name: str, data: bytes) -> Iterator[None]:
    """Vouch for a text that is about to be written, and take that back when it was not."""
    _vouch(home, name, data)
    try:
        yield
    except BaseException:
        forget_voucher(home, name)
        raise


def _vouch(home: Home, name: str, data: bytes) -> None:
    path = vouched_path(home, name)
    private_folder(path.parent)
    replace_file(path, hashlib.sha256(data).hexdigest().encode(), durable=False)


def _checked_path(folder: Path, name: str) -> Path:
    if not valid_name(name):
        raise UserError(refused_name(name))
    return spec_path(folder, name)


def _umask() -> int:
    """Of this process: asking the kernel would change it for an instant, for all threads."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("\nUmask:")[2].split()[0], 8)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn what the file system says into a sentence."""
    try:
        yield
    except FileNotFoundError as error:
        if str(error.filename) == str(path):
            raise SpecMissingError(f"cannot edit {path}: it does not exist") from None
        raise UserError(f"cannot write {path}: {error.filename} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
