"""Running git safely, and understanding why it failed.

Belongs here: git's environment and options, the kinds of failure, and a view of a clone that trusts no setting.
Does not belong here: what is done with git (`repo`, `losses`).

A clone belongs to its agent, which may write anything into `.git/config` and `.git/hooks`, and a remote may answer
anything: no program named by either ever runs, and no transport but ssh, https and local paths.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.local import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.local.commands import Result

LOCAL_TIMEOUT: Final = 120.0
"""Seconds for a command that talks to nobody."""

_VIEW: Final = "opencode-manager-view-"
_VIEW_AGE: Final = 7200.0
"""Seconds after which a view is nobody's: whoever made it was killed."""

_PASSED_ON: Final = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "GIT_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
)
_FIXED: Final = {
    "LC_ALL": "C.UTF-8",  # failures are told apart by git's English words
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_ALLOW_PROTOCOL": "ssh:https:file",
    "GIT_SSH_VARIANT": "ssh",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "false",
}
_OPTIONS: Final = tuple(
    word
    for setting in (
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "submodule.recurse=false",
        "fetch.recurseSubmodules=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "log.showSignature=false",
        "merge.verifySignatures=false",
        "advice.detachedHead=false",
        # An https server that stalls for a minute is given up; ssh has its own keepalive.
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=60",
    )
    for word in ("-c", setting)
)


class GitProblemKind(StrEnum):
    """What a failure means for whoever asked."""

    NO_ACCESS = "no-access"
    """Refused, or not there for us: over ssh this waits for the key to be added."""
    HOST_KEY_CHANGED = "host-key-changed"
    UNREACHABLE = "unreachable"
    NO_SUCH_REF = "no-such-ref"
    DIRTY = "dirty"
    """Going on would overwrite or strand work."""
    DISK_FULL = "disk-full"
    OTHER = "other"


class GitProblem(Exception):  # noqa: N818  a state of the world, like its kinds
    """Git could not do it. Its text is one sentence that begins with "cannot" and holds no secret."""

    def __init__(self, kind: GitProblemKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


_SIGNS: Final = {
    GitProblemKind.DISK_FULL: ("No space left on device", "Disk quota exceeded"),
    GitProblemKind.HOST_KEY_CHANGED: (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "Host key verification failed",
        "REVOKED HOST KEY",
    ),
    GitProblemKind.DIRTY: (
        "would be overwritten",
        "would lose untracked",
        "cannot switch branch while",
        "resolve your current index first",
    ),
    GitProblemKind.NO_SUCH_REF: (
        "Remote branch .* not found",
        "couldn't find remote ref",
        "not our ref",
        "unadvertised object",
    ),
    GitProblemKind.NO_ACCESS: (
        "Permission denied",
        "Too many authentication failures",
        "[Rr]epository.* not found",
        "[Aa]ccess denied",
        "not authorized",
        "does not appear to be a git repository",
        "could not be found",
        "Authentication failed",
        "could not read (?:Username|Password)",
        "returned error: 40[13]",
        "dubious ownership",
        "no such identity",
    ),
    GitProblemKind.UNREACHABLE: (
        "[Cc]ould not resolve",
        "Name or service not known",
        "Connection (?:refused|closed|reset|timed out)",
        "timed out",
        "unreachable",
        "No route to host",
        "kex_exchange_identification",
        "[Ff]ailed to connect",
        "early EOF",
        "hung up",
        "unexpected disconnect",
        "Broken pipe",
        "not responding",
        "Couldn't connect",
        r"returned error: (?:429|5\d\d)",
        "too slow",
        "Could not read from remote repository",
    ),
}
"""How each kind shows in what git and ssh print; the first kind with a sign counts."""
_NOISE: Final = re.compile(
    r"@{5}|Warning: Permanently added|Please make sure you have|and the repository exists|\d+% \(|Cloning into"
    r"|Could not read from remote repository|unable to read askpass|Please commit your changes|Aborting|^hint:"
)
_USERINFO: Final = re.compile(r"(?<=https://)[^/\s]*@|(?<=://)[^/\s]*:[^/\s]*@")


def environment(ssh_command: str = "") -> dict[str, str]:
    """All that git gets to know: no secret of the controller, nobody to ask, no helper transport."""
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _FIXED
    return env | {"GIT_SSH_COMMAND": ssh_command} if ssh_command else env


async def git(
    *arguments: str,
    folder: Path,
    ssh_command: str = "",
    timeout: float = LOCAL_TIMEOUT,  # noqa: ASYNC109  passed on
    on_line: Callable[[str], None] | None = None,
) -> Result:
    """Run git to its end, however it ends.

    Args:
        arguments: its command and the command's arguments.
        folder: where it runs.
        ssh_command: how it reaches an ssh remote.
        timeout: seconds.
        on_line: called with each line of its progress.

    Raises:
        GitProblem: it took too long, or is not installed.
    """
    try:
        return await commands.run(
            ["git", *_OPTIONS, *arguments], env=environment(ssh_command), cwd=folder, timeout=timeout, on_line=on_line
        )
    except TimeoutError:
        message = f"cannot finish git {_command(arguments)}: no answer within {timeout:.0f} s"
        raise GitProblem(GitProblemKind.UNREACHABLE, message) from None
    except FileNotFoundError:
        raise GitProblem(GitProblemKind.OTHER, "cannot run git: it is not on PATH; install git") from None


async def read(*arguments: str, folder: Path, what: str) -> str:
    """What git prints, when it must succeed and talks to nobody.

    Args:
        arguments: its command and the command's arguments.
        folder: where it runs.
        what: for the sentence of a failure: "cannot <what>: ...".

    Raises:
        GitProblem: it failed.
    """
    result = await git(*arguments, folder=folder)
    if result.code != 0:
        raise problem(what, result)
    return result.out


def problem(what: str, result: Result) -> GitProblem:
    """Why git failed, from what it printed: "cannot <what>: <the line that says it>"."""
    lines = [plain(line) for line in re.split(r"[\r\n]", result.err) if line.strip()]
    for kind, signs in _SIGNS.items():
        for line in lines:
            if re.search("|".join(signs), line):
                return GitProblem(kind, f"cannot {what}: {_reason(kind, line, lines)}")
    useful = [line for line in lines if not _NOISE.search(line)]
    return GitProblem(
        GitProblemKind.OTHER, f"cannot {what}: {useful[-1] if useful else f'git ended with code {result.code}'}"
    )


def plain(text: str, limit: int = 300) -> str:
    """One printable line without credentials: what a remote or a file name says must not steer a terminal."""
    line = "".join(c if c.isprintable() else "?" for c in text.strip())
    line = _USERINFO.sub("", re.sub(r"^(?:(?:fatal|error|ERROR|remote|warning): *)+", "", line))
    return (line if len(line) <= limit else f"{line[:limit]}...").rstrip(" .")


def _reason(kind: GitProblemKind, sign: str, lines: list[str]) -> str:
    if kind is GitProblemKind.HOST_KEY_CHANGED:
        offending = next((m for line in lines if (m := re.search(r"Offending \S+ key in (.+):(\d+)$", line))), None)
        where = f"line {offending[2]} of {offending[1]}" if offending else "its old key from known_hosts"
        return f"the server's host key is not the pinned one; only if you know that it was changed, delete {where}"
    if kind is GitProblemKind.DIRTY:
        return f"{sign.rstrip(':')}: commit, push or remove what is in the way"
    if not _NOISE.search(sign):
        return sign
    return next((line for line in reversed(lines) if not _NOISE.search(line)), "the remote ended the connection")


def _command(arguments: tuple[str, ...]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")


@contextlib.contextmanager
def view(gitdir: Path) -> Iterator[Path]:
    """A throw-away git folder with the objects and refs of a clone, and none of its settings, hooks or filters.

    HEAD and the index are copies, the rest links: what is fetched into the view stays in the clone.

    Raises:
        OSError: what lies there is no whole git folder.
    """
    if (gitdir / "commondir").exists():
        raise NotADirectoryError(f"{gitdir} borrows from another git folder")
    for leftover in gitdir.glob(f"{_VIEW}*"):
        if time.time() - leftover.stat().st_mtime > _VIEW_AGE:
            shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_VIEW, dir=gitdir, ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        linked = ("objects", "refs", "packed-refs", "logs", "info", "shallow", "reftable")
        for source in (*(gitdir / name for name in linked), *gitdir.glob("sharedindex.*")):
            if source.exists():
                (place / source.name).symlink_to(source.resolve())
        for name in ("HEAD", "index"):
            if name == "HEAD" or (gitdir / name).exists():
                shutil.copyfile(gitdir / name, place / name, follow_symlinks=False)
        (place / "config").write_text(_minimal_config(gitdir / "config"))
        yield place


def _minimal_config(config: Path) -> str:
    """The settings without which git cannot read the objects; their values come from short lists."""
    text = config.read_text(errors="replace")
    hashing = re.search(r"(?im)^\s*objectformat\s*=\s*(sha1|sha256)\s*$", text)
    storage = re.search(r"(?im)^\s*refstorage\s*=\s*(files|reftable)\s*$", text)
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false", "[extensions]"]
    lines += [f"\tobjectformat = {hashing[1]}"] if hashing else []
    lines += [f"\trefstorage = {storage[1]}"] if storage else []
    return "\n".join(lines) + "\n"
