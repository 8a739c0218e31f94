"""Who may see an agent's page: one-time codes, and the cookies that they become.

Files, not an endpoint: who may write into the controller's private folder may make a code, so no request can, no token
is sent for it, and a cookie outlives the controller. Codes and cookies themselves are nowhere: the file of a
project, 0600, has their hashes. A cookie is also bound to the agent's password, by an HMAC with the cookie as its key:
nothing to revoke is left when the password changes, whether or not anybody noticed.

Standard library only: the command line and the idle controller load it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reconciler.settings import Home

CODE_LIFE: Final = 60.0
"""Seconds in which a code can be used, once."""
COOKIE_LIFE: Final = 12 * 3600.0
"""Seconds."""
MOST: Final = 32
"""Codes, and cookies, of one project; the oldest go first."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """An invitation that nobody has used."""

    hash: str
    expires: float
    """CLOCK_BOOTTIME, which counts while the machine sleeps."""
    path: str


@dataclass(frozen=True, kw_only=True)
class Cookie:
    """A browser that was let in."""

    hash: str
    expires: float
    bound: str
    """To the password."""
    revoked: bool = False
    """It was stopped: the browser hears why nothing is shown, and no more."""


@dataclass(frozen=True, kw_only=True)
class _Book:
    """What the file of one project says."""

    codes: tuple[Code, ...] = ()
    cookies: tuple[Cookie, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A code that was used."""

    cookie: str = field(repr=False)
    path: str
    """Where the browser goes."""


class BrowserSessions:
    """The codes and cookies of all projects of one home. Methods that write block for milliseconds."""

    def __init__(self, home: Home) -> None:
        self._folder = home.controller / "web"
        self._known: dict[str, tuple[object, _Book]] = {}
        """By project: what its file was when it was read, and what it says."""

    def invite(self, name: str, path: str = "/") -> str:
        """Return a new code.

        Args:
            name: the project.
            path: where a browser goes that has used it.
        """
        code = secrets.token_urlsafe(32)
        with self._changing(name) as (book, keep):
            new = Code(hash=_hash(code), expires=_now() + CODE_LIFE, path=path)
            keep(replace(book, codes=(*book.codes, new)[-MOST:]))
        return code

    def launcher(self, name: str, url: str) -> Path:
        """Return a file, 0600, that leads a browser to a URL with a code: as an argument everybody could read it."""
        path = self._launcher(name)
        # Nothing in such a URL means anything in HTML.
        page = f'<!doctype html><meta http-equiv="refresh" content="0; url={url}"><a href="{url}">{name}</a>\n'
        files.replace_file(path, page.encode(), durable=False)
        return path

    def invited(self, name: str, code: str) -> bool:
        """Tell whether a code can be used now; it stays unused."""
        return _find(self._read(name).codes, code) is not None

    def enter(self, name: str, code: str, password: str) -> Entered | None:
        """Use a code; None where it is unknown, used, revoked or too old."""
        cookie = secrets.token_urlsafe(32)
        with self._changing(name) as (book, keep):
            used = _find(book.codes, code)
            if used is None:
                return None
            new = Cookie(hash=_hash(cookie), expires=_now() + COOKIE_LIFE, bound=_bind(cookie, password))
            left = tuple(one for one in book.codes if one is not used)
            keep(replace(book, codes=left, cookies=(*book.cookies, new)[-MOST:]))
            self._launcher(name).unlink(missing_ok=True)
        return Entered(cookie=cookie, path=used.path)

    def known(self, name: str, sent: str) -> Cookie | None:
        """Return the cookie that was sent, whatever it still allows; None where there is none."""
        found: Cookie | None = _find(self._read(name).cookies, sent)
        return found

    def stop(self, name: str) -> None:
        """Revoke everything of a project that was stopped; browsers still hear that it was."""
        found = self._read(name)
        if not found.codes and all(one.revoked for one in found.cookies):
            return
        try:
            with self._changing(name) as (book, keep):
                keep(_Book(cookies=tuple(replace(one, revoked=True) for one in book.cookies)))
                self._launcher(name).unlink(missing_ok=True)
        except OSError:  # such as a full disk: then browsers do not hear why
            self.forget(name)

    def revoke(self, name: str) -> int:
        """Revoke everything of a project; return how many browsers were let in."""
        if not self._file(name).exists():
            return 0
        with self._changing(name) as (book, keep):
            keep(_Book())
            self._launcher(name).unlink(missing_ok=True)
        return sum(not one.revoked for one in book.cookies)

    def forget(self, name: str) -> None:
        """Drop the file of a project that is gone."""
        for path in (self._file(name), self._launcher(name)):
            path.unlink(missing_ok=True)
        self._known.pop(name, None)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _launcher(self, name: str) -> Path:
        return self._folder / f"{name}.html"

    def _read(self, name: str) -> _Book:
        """Return what is in force now. A file that is as it was is not read again."""
        path = self._file(name)
        try:
            about = path.stat()
        except OSError:
            return _Book()
        stamp = (about.st_ino, about.st_mtime_ns, about.st_size)
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            known = self._known[name] = (stamp, _parse(files.read_json(path) or {}))
        now = _now()
        return _Book(
            codes=tuple(one for one in known[1].codes if one.expires > now),
            cookies=tuple(one for one in known[1].cookies if one.expires > now),
        )

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[tuple[_Book, Any]]:
        """Hold the lock: yield what is in force, and what replaces it."""

        def keep(book: _Book) -> None:
            text = json.dumps({"boot": _boot(), **asdict(book)})
            # Not durable: after a power cut the boot is another one, and nothing of this counts.
            files.replace_file(self._file(name), text.encode(), durable=False)

        files.private_folder(self._folder)
        lock = files.LockFile(self._folder / "lock", wait=True)
        try:
            yield self._read(name), keep
        finally:
            lock.close()


def bound(cookie: Cookie, sent: str, password: str) -> bool:
    """Tell whether the agent's password is still the one that a cookie was given for."""
    return hmac.compare_digest(cookie.bound, _bind(sent, password))


def _find(among: Iterable[Any], sent: str) -> Any:  # noqa: ANN401  a code, or a cookie
    """Return the one that was sent, in a time that says nothing about the others."""
    wanted = _hash(sent)
    return next((one for one in [one for one in among if hmac.compare_digest(one.hash, wanted)]), None)


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def _bind(cookie: str, password: str) -> str:
    return hmac.new(cookie.encode("utf-8", "surrogateescape"), password.encode(), "sha256").hexdigest()


def _parse(data: dict[str, Any]) -> _Book:
    """Return what a file says; nothing where it is of another boot, or broken."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if data["boot"] == _boot():
            return _Book(
                codes=tuple(Code(**one) for one in data["codes"]),
                cookies=tuple(Cookie(**one) for one in data["cookies"]),
            )
    return _Book()


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
