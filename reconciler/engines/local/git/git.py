"""Run git safely.

A clone belongs to its agent, which may write anything into `.git/config` and `.git/hooks`, and a remote may answer
anything: no program named by either ever runs, and no transport but ssh, https and local paths is used. What git sees
besides is what the agent's git sees: its project's world.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.engines.local.git import subprocesses
from reconciler.engines.local.git.causes import GitProblem, GitProblemKind, plain, problem
from reconciler.system import files, safe_git
from reconciler.system.aio import run_in_thread_shielded
from reconciler.system.held_folder import held

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from reconciler.engines.local.git.git_world import GitWorld
    from reconciler.engines.local.git.subprocesses import Completed
    from reconciler.system.held_folder import HeldFolder

__all__ = [
    "LOCAL_TIMEOUT",
    "GitProblem",
    "GitProblemKind",
    "environment",
    "git",
    "minimal_config",
    "plain",
    "problem",
    "read",
    "view",
]

LOCAL_TIMEOUT: Final = 120.0
"""Seconds for a command that uses no network."""

_VIEW: Final = "opencode-manager-view-"
_VIEW_AGE: Final = 7200.0
"""Seconds after which a view is abandoned: its maker was killed."""

_OF_A_REPOSITORY: Final = frozenset(
    {
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE"),
        *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_SHALLOW_FILE"),
        *("GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE", "GIT_NO_REPLACE_OBJECTS", "GIT_IMPLICIT_WORK_TREE"),
    }
)
"""Variables that put another repository in the place of the one we mean (git rev-parse --local-env-vars)."""
_FIXED: Final = {
    **safe_git.VARIABLES,
    "GIT_SSH_VARIANT": "ssh",
}
_OPTIONS: Final = (
    *safe_git.OPTIONS,
    # An https server that stalls for a minute is given up; ssh has its own keepalive.
    *("-c", "http.lowSpeedLimit=1000"),
    *("-c", "http.lowSpeedTime=60"),
)


def environment(world: GitWorld) -> dict[str, str]:
    """Return the whole environment of our git: its project's world, but nobody is asked."""
    return {name: value for name, value in world.environment.items() if name not in _OF_A_REPOSITORY} | {
        **_FIXED,
        "GIT_ALLOW_PROTOCOL": ":".join(world.protocols),
    }


async def git(
    world: GitWorld,
    *arguments: str,
    folder: Path,
    timeout: float = LOCAL_TIMEOUT,  # noqa: ASYNC109  passed on
    on_line: Callable[[str], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Completed:
    """Run git to its end, however it ends.

    Args:
        world: of its project.
        arguments: its command and the command's arguments.
        folder: where it runs.
        timeout: seconds.
        on_line: called with each line of its progress.
        variables: added to its environment.

    Raises:
        GitProblem: it took too long, or is not installed.
    """
    known = environment(world) | dict(variables or {})
    try:
        return await subprocesses.run(
            [*world.wrapper, "git", *_OPTIONS, *arguments], env=known, cwd=folder, timeout=timeout, on_line=on_line
        )
    except TimeoutError:
        message = f"cannot finish git {_command(arguments)}: it did not end within {timeout:.0f} s"
        kind = GitProblemKind.OTHER if timeout == LOCAL_TIMEOUT else GitProblemKind.UNREACHABLE
        raise GitProblem(kind, message) from None
    except FileNotFoundError:
        raise GitProblem(GitProblemKind.SETUP, "cannot run git: it is not on PATH", "install git") from None


async def read(world: GitWorld, *arguments: str, folder: Path, what: str) -> str:
    """Return what git prints, when it must succeed and needs no network.

    Args:
        world: of its project.
        arguments: its command and the command's arguments.
        folder: where it runs.
        what: for the sentence of a failure: "cannot <what>: ...".

    Raises:
        GitProblem: it failed.
    """
    result = await git(world, *arguments, folder=folder)
    if result.code != 0:
        raise problem(what, result)
    return result.out


def _command(arguments: tuple[str, ...]) -> str:
    return next((word for word in arguments if not word.startswith("-")), "")


@contextlib.asynccontextmanager
async def view(gitdir: Path) -> AsyncIterator[Path]:
    """Make a temporary git folder with the objects and refs of a clone, without its settings, hooks or filters.

    HEAD and the index are copies, the rest links: what is fetched into the view stays in the clone.

    Raises:
        OSError: what lies there is no whole git folder.
    """
    place = await run_in_thread_shielded(_make_view, gitdir)  # in threads: an index can be large, and a disk slow
    try:
        yield place
    finally:
        await run_in_thread_shielded(shutil.rmtree, place, ignore_errors=True)


def _make_view(gitdir: Path) -> Path:
    if gitdir.is_symlink():
        raise NotADirectoryError(f"{gitdir} is a link")
    if (gitdir / "commondir").exists():
        raise NotADirectoryError(f"{gitdir} borrows from another git folder")
    for leftover in gitdir.glob(f"{_VIEW}*"):
        if time.time() - leftover.stat().st_mtime > _VIEW_AGE:
            shutil.rmtree(leftover, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=_VIEW, dir=gitdir))
    try:
        with held(gitdir, place.name) as folder:  # its agent may put links there while we write
            _furnish(folder, gitdir)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return place


def _furnish(view: HeldFolder, gitdir: Path) -> None:
    linked = ("objects", "refs", "packed-refs", "logs", "info", "shallow", "reftable")
    for source in (*(gitdir / name for name in linked), *gitdir.glob("sharedindex.*")):
        if source.exists():
            view.link(source.name, str(source.resolve()))
    for name in ("HEAD", "index"):
        if name == "HEAD" or (gitdir / name).exists():
            view.copy(gitdir / name)
    view.replace("config", minimal_config(gitdir / "config").encode())


def minimal_config(config: Path) -> str:
    """Return the settings without which git cannot read the objects; their values come from short lists."""
    text = files.read_regular(config).decode(errors="replace")
    hashing = re.search(r"(?im)^\s*objectformat\s*=\s*(sha1|sha256)\s*$", text)
    storage = re.search(r"(?im)^\s*refstorage\s*=\s*(files|reftable)\s*$", text)
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false", "[extensions]"]
    lines += [f"\tobjectformat = {hashing[1]}"] if hashing else []
    lines += [f"\trefstorage = {storage[1]}"] if storage else []
    return "\n".join(lines) + "\n"
