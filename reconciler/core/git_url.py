"""Validate git URLs and refs by the rules of git and ssh. Pure.

The rules are git's (connect.c, transport.c, refs.c) and OpenSSH's for host and user names, less what git would take for
an option or a helper program, what is not encrypted, and what holds a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_COMPONENT: Final = 250
"""Bytes of one part of a ref: a file system takes names of 255, and git appends `.lock`."""
MAX_REF: Final = 1000
"""Bytes of a whole ref: with the folder of a clone it stays below the 4096 of a path."""

_HELPER: Final = re.compile(r"[A-Za-z0-9+.-]*::")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_WINDOWS: Final = re.compile(r"[A-Za-z]:\\|[A-Z]:/")
_HOST: Final = r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>(?![-.])[^\s'\"`$\\;&<>|(){}*?!#@:/,\[\]]+))"
_USER: Final = r"(?:(?P<user>(?!-)[^\s'\"`$\\;&<>|(){}*?!#:/,\[\]]+)@)?"
_SCP: Final = re.compile(rf"{_USER}{_HOST}:(?P<port>)(?P<path>.*)", re.DOTALL)
_URL: Final = re.compile(rf"(?:ssh|https)://{_USER}{_HOST}(?::(?P<port>\d{{1,5}}))?/(?P<path>.+)", re.DOTALL)
_TOKEN: Final = re.compile(r"(?i)(?:gh[a-z]_|github_pat_|gl[a-z]{2,6}-|ATBB|ATCTT|ATATT|xox[a-z]-|pat-|sk-).*")
_FORGES: Final = (
    "github.com",
    "gitlab.com",
    "bitbucket.org",
    "codeberg.org",
    "dev.azure.com",
    "git.sr.ht",
    "gitea.com",
)
_SCHEMES: Final = {
    "http": "it is not encrypted; use https",
    "git": "it is not encrypted; use https or ssh",
    "file": "write the path itself",
    "git+ssh": "write ssh:// instead",
    "ssh+git": "write ssh:// instead",
    "git+https": "write https:// instead",
}


class Transport(StrEnum):
    """How a git URL is reached."""

    SSH = "ssh"
    HTTPS = "https"
    LOCAL = "local"


@dataclass(frozen=True)
class Remote:
    """The parts of a URL that names another machine."""

    user: str
    host: str
    """Without brackets."""
    port: str
    path: str
    """Without a slash at its begin where the url has one there for its form alone."""


def transport(url: str) -> Transport:
    """Return how this (already validated) git URL is reached."""
    if url.startswith("https://"):
        return Transport.HTTPS
    if url.startswith("ssh://") or _is_scp(url):
        return Transport.SSH
    return Transport.LOCAL


def remote(url: str) -> Remote | None:
    """Return the parts of an ssh or https URL; None for a local path."""
    match = _URL.fullmatch(url) or (_SCP.fullmatch(url) if _is_scp(url) else None)
    return (
        Remote(match["user"] or "", match["v6"] or match["host"], match["port"] or "", match["path"]) if match else None
    )


def check_git_url(url: str) -> str:
    """Return the URL, without blanks around it, if it is safe to give to git and ssh.

    Raises:
        ValueError: it cannot be used; the sentence says why and never repeats a part that may be a secret.
    """
    url = url.strip()
    if not url:
        raise ValueError("cannot use a git url that is empty")
    if not url.replace(" ", "").isprintable():
        raise ValueError("cannot use a git url with control characters or others that cannot be printed")
    if url.startswith("-"):
        raise ValueError("cannot use a git url that begins with a dash: git would take it for an option")
    if _HELPER.match(url):
        raise ValueError("cannot use a git url with a helper transport (::): use ssh, https or a local path")
    if _WINDOWS.match(url):
        raise ValueError(
            "cannot use a Windows path as git url: git takes the drive for the name of a host; "
            f"did you mean /mnt/{url[0].lower()}/{url[3:].replace(chr(92), '/')}?"
        )
    if match := _SCHEME.match(url):
        return _check_remote(url, match[1])
    if _is_scp(url):
        return _check_scp(url)
    if url.lower().startswith(tuple(f"{forge}/" for forge in _FORGES)):
        raise ValueError(f"cannot use it as git url: {did_you_mean(url)}; a folder of that name is written ./{url}")
    return url


def did_you_mean(url: str) -> str:
    """Return the most likely intended URL for one that did not work, as `did you mean ...`; empty where unknown."""
    if transport(url) is Transport.SSH:
        found = remote(url)
        port = re.fullmatch(r"(\d{2,5})/(.+)", found.path) if found and not url.startswith("ssh://") else None
        return f"did you mean ssh://{url.partition(':')[0]}:{port[1]}/{port[2]}?" if port else ""
    if transport(url) is Transport.HTTPS or url[0] in "./~":
        return ""
    host, _, path = url.removeprefix("www.").partition("/")
    if re.fullmatch(r"(?i)[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}", host) and "/" in path:
        return f"did you mean https://{host}/{path} or git@{host}:{path}?"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", url):
        return f"did you mean https://github.com/{url} or git@github.com:{url}?"
    return ""


def _check_remote(url: str, scheme: str) -> str:
    if scheme not in {"ssh", "https"}:
        lower = f"write {scheme.lower()}:// in small letters" if scheme.lower() in {"ssh", "https"} else ""
        way = _SCHEMES.get(scheme, lower) or "use ssh, https or a local path"
        raise ValueError(f"cannot use {scheme}:// in a git url: {way}")
    authority = url.partition("://")[2].partition("/")[0]
    user = authority.rpartition("@")[0]
    if ":" in user or "%3a" in user.lower():
        raise ValueError("cannot use a git url with a password in it: secrets do not belong in a spec")
    if scheme == "https" and like_a_secret(user):
        raise ValueError("cannot use a git url with a token for a user name: secrets do not belong in a spec")
    if scheme == "https" and re.search(r"[\s\"<>\\^`{|}]", url):
        raise ValueError("cannot use an https url with spaces or such characters: write them as %20 and the like")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(
            "cannot read it as a git url: write ssh://user@host[:port]/path or https://host/path, "
            "the host without quotes, blanks, brackets and other characters that a shell knows"
        )
    if match["port"] and not 0 < int(match["port"]) < 65536:
        raise ValueError("cannot use a git url with this port: give one from 1 to 65535")
    if match["path"].startswith("-"):
        raise ValueError("cannot use a git url whose path begins with a dash")
    return url


def _check_scp(url: str) -> str:
    if bracketed := re.fullmatch(r"\[([^\[\]:]+:\d+)\]:/?(.+)", url):
        raise ValueError(f"cannot use this form of a git url: write ssh://{bracketed[1]}/{bracketed[2]}")
    match = _SCP.fullmatch(url)
    if match is None:
        raise ValueError(
            "cannot read it as a git url: git takes what is before the first colon for a host; write "
            "user@host:path, with a plain host, or ./ before a local path with a colon"
        )
    if not match["path"]:
        raise ValueError("cannot use a git url without a path: write user@host:path")
    if match["path"].startswith("-"):
        raise ValueError("cannot use a git url whose path begins with a dash")
    if not match["user"] and re.match(r"[^/@]+@[^/:]+:", match["path"]):
        raise ValueError("cannot use a git url with a password in it: secrets do not belong in a spec")
    return url


def like_a_secret(user: str) -> bool:
    """Tell whether a user name is rather a token: forges accept one in its place."""
    mixed = re.search(r"\d", user) and re.search(r"[a-z]", user) and re.search(r"[A-Z]", user)
    long = len(user) >= 30 and re.search(r"\d", user) and re.search(r"(?i)[a-z]", user)
    return bool(_TOKEN.fullmatch(user) or long or (len(user) >= 20 and mixed))


def _is_scp(url: str) -> bool:
    """Apply git's own rule: host:path, unless a slash comes before the first colon; brackets may hold an address."""
    if _SCHEME.match(url):
        return False
    before, colon, _ = url.partition(":")
    return bool(colon) and "/" not in before


def check_ref(ref: str) -> str:
    """Return the branch, tag or commit, without blanks around it, if it is safe to give to git; by git's own rules.

    Raises:
        ValueError: it cannot be used; the sentence says why.
    """
    ref = ref.strip(" \t\r\n")
    if why := _wrong_with(ref):
        raise ValueError(f"cannot use it as a git ref: {why}; give a branch, a tag or a commit, like main or v1.2.0")
    return ref


def _wrong_with(ref: str) -> str:
    """Return why git rejects it, or must not be given it; empty when it is valid."""
    parts = ref.split("/")
    bad = re.search(r"[ ~^:?*\[\\]", ref)
    if not ref:
        return "it is empty"
    if not ref.replace(" ", "").isprintable():
        return "it has characters that cannot be printed"
    if bad:
        return f"git allows no {'blank' if bad[0] == ' ' else bad[0]} in a name"
    if ref.startswith("-") or any(ref.startswith(f"{kind}-") for kind in ("refs/heads/", "refs/tags/")):
        return "it begins with a dash, and git would take it for an option"
    if "" in parts:
        return "it begins or ends with a slash, or has two together"
    if ".." in ref or "@{" in ref or ref == "@":
        return "git allows no .. and @{ in a name, nor @ alone"
    if any(part.startswith(".") or part.endswith(".lock") for part in parts) or ref.endswith("."):
        return "no part of a name begins with a dot or ends with .lock, and it ends with no dot"
    if len(ref.encode()) > MAX_REF or any(len(part.encode()) > MAX_COMPONENT for part in parts):
        return "it is too long for a file system"
    return ""
