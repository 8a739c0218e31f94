"""What destroying a clone would lose.

Belongs here: finding work that exists nowhere else. Does not belong here: deciding what to do about it (`plan`).

Looking changes nothing and runs nothing that the clone names (see `git.view`). What it cannot tell counts as a loss.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from reconciler.local.git import GitProblem, plain, read, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KNOWN_FILE: Final = "opencode-manager.known"
"""In `.git`: objects that came from the remote although no remote-tracking branch leads to them, one a line."""
SHOWN: Final = 5
"""Of each kind; the rest is counted."""
MAX_DEPTH: Final = 4
"""Of submodules within submodules."""

_UNFINISHED: Final = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
_MAX_KNOWN: Final = 20_000
"""Object names that fit on a command line; with more, too much is reported rather than too little."""


async def losses(clone: Path) -> tuple[str, ...]:
    """What of this clone exists nowhere else, for people; empty when nothing does.

    Args:
        clone: the work tree, with its `.git`.
    """
    return await _losses(clone, MAX_DEPTH)


async def _losses(tree: Path, depth: int) -> tuple[str, ...]:
    try:
        gitdir = _gitdir(tree)
        with view(gitdir) as place:
            return (
                *_unfinished(gitdir),
                *await _stashes(place),
                *_some(await unpushed(place, gitdir), "commits"),
                *await _files(place, tree),
                *_worktrees(gitdir),
                *await _index(place, tree, depth),
            )
    except (GitProblem, OSError) as error:
        return (f"cannot tell what would be lost: {plain(str(error))}",)


async def unpushed(place: Path, gitdir: Path, *, stranded: bool = False) -> list[str]:
    """Commits that no remote-tracking branch and nothing else we fetched leads to, newest first.

    Args:
        place: a view of the clone.
        gitdir: its git folder.
        stranded: only those that no local branch or tag leads to either, so only what a detached HEAD holds.
    """
    tips = ("HEAD", "--not", "--branches", "--tags") if stranded else ("--all", "--not")
    out = await read(
        *(f"--git-dir={place}", "log", "-z", "--max-count=1000", "--ignore-missing", "--format=%h on %S: %s"),
        *("--exclude=refs/remotes/*", "--exclude=refs/stash", *tips, "--remotes", *_known(gitdir), "--"),
        folder=place,
        what="list its commits",
    )
    return [f"commit {plain(entry).replace('refs/heads/', '', 1)} is not pushed" for entry in out.split("\0") if entry]


def _known(gitdir: Path) -> list[str]:
    try:
        lines = (gitdir / KNOWN_FILE).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    names = [line for line in lines if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", line)]
    return names if len(names) <= _MAX_KNOWN else []


def _gitdir(tree: Path) -> Path:
    """The git folder of a work tree; of a submodule it is named in a file."""
    dot = tree / ".git"
    if dot.is_symlink():
        raise NotADirectoryError(f"{dot} is a link")
    if dot.is_file():
        text = dot.read_text(errors="replace").strip()
        return (tree / text.removeprefix("gitdir: ")).resolve()
    return dot


def _unfinished(gitdir: Path) -> Iterator[str]:
    for name in dict.fromkeys(word for file, word in _UNFINISHED.items() if (gitdir / file).exists()):
        yield f"a {name} is in progress"


async def _stashes(place: Path) -> tuple[str, ...]:
    git_dir = f"--git-dir={place}"
    what = "list its stashes"
    if not await read(git_dir, "for-each-ref", "refs/stash", folder=place, what=what):
        return ()
    out = await read(git_dir, "log", "-z", "-g", "--format=%gd: %gs", "refs/stash", "--", folder=place, what=what)
    entries = [f"stash {plain(entry)}" for entry in out.split("\0") if entry]
    return _some(entries or ["stash without a log"], "stashes")


async def _files(place: Path, tree: Path) -> tuple[str, ...]:
    out = await read(
        *(f"--git-dir={place}", f"--work-tree={tree}", "status", "--porcelain=v1", "-z", "--no-renames"),
        *("--untracked-files=normal", "--ignore-submodules=all"),
        folder=tree,
        what="compare its files",
    )
    entries = [entry for entry in out.split("\0") if len(entry) > 3]
    changed = [f"changed file {plain(entry[3:])}" for entry in entries if not entry.startswith("??")]
    untracked = [f"untracked {plain(entry[3:])}" for entry in entries if entry.startswith("??")]
    return (*_some(changed, "changed files"), *_some(untracked, "untracked files"))


def _worktrees(gitdir: Path) -> tuple[str, ...]:
    places = [file.read_text(errors="replace") for file in sorted(gitdir.glob("worktrees/*/gitdir"))]
    return _some([f"another worktree {plain(place).removesuffix('/.git')} needs it" for place in places], "worktrees")


async def _index(place: Path, tree: Path, depth: int) -> tuple[str, ...]:
    """Files that `git status` was told to pass over, and what submodules would lose."""
    out = await read(
        *(f"--git-dir={place}", f"--work-tree={tree}", "ls-files", "-z", "-v", "--stage"),
        folder=tree,
        what="list its files",
    )
    hidden: list[str] = []
    found: list[str] = []
    for entry in out.split("\0"):
        tag, _, rest = entry.partition(" ")
        about, _, name = rest.partition("\t")
        if about.startswith("160000 ") and (tree / name / ".git").exists():
            inside = await _losses(tree / name, depth - 1) if depth else ("cannot tell: it is nested too deeply",)
            found += (f"in submodule {plain(name)}: {loss}" for loss in inside)
        elif (tag.islower() or tag == "S") and (tree / name).is_file():
            hidden.append(f"file {plain(name)} is hidden from git status")
    return (*_some(hidden, "hidden files"), *found)


def _some(entries: list[str], noun: str) -> tuple[str, ...]:
    if len(entries) <= SHOWN:
        return tuple(entries)
    return (*entries[:SHOWN], f"and {len(entries) - SHOWN} more {noun}")
