"""What a project's git runs in: a value that every part of this package is handed."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.engines.local.git.causes import GitProblem

PROTOCOLS: Final = ("ssh", "https", "file")
"""Transports that git may use: nothing that is not encrypted, and no helper program."""


@dataclass(frozen=True)
class Rewrites:
    """The rules `url.<base>.insteadOf` and `pushInsteadOf` that are in force, as pairs of prefix and base."""

    fetch: tuple[tuple[str, str], ...] = ()
    push: tuple[tuple[str, str], ...] = ()

    def fetched(self, url: str) -> str:
        """Return the URL that git really asks for this one, as `git ls-remote --get-url` does."""
        return _rewritten(self.fetch, url) or url

    def pushed(self, url: str) -> str:
        """Return the URL that git really pushes to for this one."""
        return _rewritten(self.push, url) or self.fetched(url)


def _rewritten(rules: tuple[tuple[str, str], ...], url: str) -> str:
    """Apply git's own rule: the longest prefix wins, and of two that are equal the first."""
    fitting = [rule for rule in rules if url.startswith(rule[0])]
    prefix, base = max(fitting, key=lambda rule: len(rule[0]), default=("", ""))
    return f"{base}{url.removeprefix(prefix)}" if fitting else ""


@dataclass(frozen=True, kw_only=True)
class GitWorld:
    """What one project's git runs in: precisely what its agent gets, so that what works for one works for the other."""

    environment: Mapping[str, str] = field(repr=False)
    wrapper: tuple[str, ...] = ()
    """The program and its arguments that confine what follows them; empty: not confined."""
    rewrites: Rewrites = field(default_factory=Rewrites)
    protocols: tuple[str, ...] = PROTOCOLS
    """Transports that may be used: never more than these, and less where the user's settings say so."""
    kept_back: tuple[str, ...] = ()
    """Servers at which the user has a way to log in (such as a credential helper) that this project is not given; an
    empty one means all."""
    problem: GitProblem | None = None
    """Why the user's settings could not be read: nothing is asked of a remote until they can be."""

    def keeps_back_login(self, url: str) -> bool:
        """Tell whether the user could log in at the server of an https URL, and this project cannot."""
        host = urlsplit(url).hostname or ""
        servers = (urlsplit(server).hostname or "" for server in self.kept_back if server)
        return url.startswith("https://") and ("" in self.kept_back or any(fnmatch(host, one) for one in servers))
