"""Find work that exists in this clone alone, before it is destroyed.

Nothing is changed, and nothing runs that the clone names (see `git.view`). What cannot be determined counts as a loss.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler import agents
from reconciler.core import kinds
from reconciler.engines.local.git.git import GitProblem, plain, read, view
from reconciler.system import files
from reconciler.system.aio import run_in_thread_shielded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.agents.base import Driver
    from reconciler.engines.local.git.git_world import GitWorld

KNOWN_FILE: Final = "opencode-manager.known"
"""In `.git`: objects that came from the remote although no remote-tracking branch leads to them, one a line."""
SHOWN: Final = 5
"""Of each kind; the rest is counted."""
MAX_DEPTH: Final = 4
"""Of submodules within submodules."""

_DEEPEST: Final = 60
"""Levels of folders that are searched for submodules."""
_UNFINISHED: Final = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
_LONGEST: Final = 10_000
"""Bytes of a path."""
_MAX_KNOWN: Final = 20_000
"""Object names that fit on a command line; with more, too much is reported rather than too little."""


class _Walk(NamedTuple):
    """One search through a clone and its submodules."""

    top: Path
    seen: set[Path]
    """Git folders."""
    driver: Driver
    """Of the agent that works there: what it writes by itself is nobody's work."""
    world: GitWorld


async def work_at_risk(clone: Path, world: GitWorld, kind: str = kinds.DEFAULT) -> tuple[str, ...]:
    """Return what of this clone exists nowhere else, for people; empty when nothing does.

    Args:
        clone: the work tree, with its `.git`.
        world: what git runs in.
        kind: of the agent that works there.
    """
    walk = _Walk(clone, set(), agents.driver(kind), world)
    found = await _work_at_risk(clone, MAX_DEPTH, walk)
    return (*found, *await _left_behind(walk))


async def _work_at_risk(tree: Path, depth: int, walk: _Walk) -> tuple[str, ...]:
    try:
        gitdir = _gitdir(tree, walk.top)
        walk.seen.add(gitdir.resolve())
        async with view(gitdir) as place:
            return (
                *await _in_repository(walk.world, place, gitdir),
                *await _files(place, tree, walk),
                *_worktrees(gitdir),
                *await _index(place, tree, depth, walk),
            )
    except (GitProblem, OSError) as error:
        return (f"cannot tell what would be lost: {plain(str(error))}",)


async def _in_repository(world: GitWorld, place: Path, gitdir: Path) -> tuple[str, ...]:
    """Return what is in a git folder alone, and in no file beside it."""
    commits = await unpushed(world, place, gitdir)
    return (*_unfinished(gitdir), *await _stashes(world, place), *_some(commits, "commits"))


async def _left_behind(walk: _Walk) -> tuple[str, ...]:
    """Return the same for submodules that no file leads to any more: git keeps their folder on other branches."""
    found: list[str] = []
    modules = walk.top / ".git" / "modules"
    for gitdir in await run_in_thread_shielded(list, _module_folders(modules)):
        if gitdir.resolve() in walk.seen:
            continue
        name = plain(str(gitdir.relative_to(modules)))
        try:
            async with view(gitdir) as place:
                inside = await _in_repository(walk.world, place, gitdir)
        except (GitProblem, OSError) as error:
            inside = (f"cannot tell what would be lost: {plain(str(error))}",)
        found += (f"in submodule {name}, which is not checked out: {loss}" for loss in inside)
    return tuple(found)


def _module_folders(folder: Path, deep: int = 0) -> Iterator[Path]:
    """Return the git folders of submodules, which are named like their paths, and of those within them."""
    if folder.is_symlink() or not folder.is_dir():
        return
    parts = ("HEAD", "config", "refs", "packed-refs")
    if deep > _DEEPEST or ((folder / "objects").is_dir() and any((folder / part).exists() for part in parts)):
        yield folder  # or something that cannot be read as one, which is said
        yield from _module_folders(folder / "modules", deep + 1) if deep <= _DEEPEST else ()
        return
    for inner in sorted(folder.iterdir()):
        yield from _module_folders(inner, deep + 1)


async def unpushed(world: GitWorld, place: Path, gitdir: Path, *, stranded: bool = False) -> list[str]:
    """Return commits that no remote-tracking branch and nothing else we fetched leads to, newest first.

    Args:
        world: what git runs in.
        place: a view of the clone.
        gitdir: its git folder.
        stranded: only those that no local branch or tag leads to either, so only what a detached HEAD holds.
    """
    tips = ("HEAD", "--not", "--branches", "--tags") if stranded else ("--all", "--not")
    out = await read(
        world,
        *(f"--git-dir={place}", "log", "-z", "--max-count=1000", "--ignore-missing", "--format=%h on %S: %s"),
        *("--exclude=refs/remotes/*", "--exclude=refs/stash", *tips, "--remotes", *_known(gitdir), "--"),
        folder=place,
        what="list its commits",
    )
    return [f"commit {plain(entry).replace('refs/heads/', '', 1)} is not pushed" for entry in out.split("\0") if entry]


def _known(gitdir: Path) -> list[str]:
    try:
        lines = files.read_regular(gitdir / KNOWN_FILE).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    names = [line for line in lines if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", line)]
    return names if len(names) <= _MAX_KNOWN else []


def _gitdir(tree: Path, top: Path) -> Path:
    """Return the git folder of a work tree; for a submodule a file names it, within that of the whole clone."""
    dot = tree / ".git"
    if dot.is_symlink():
        raise NotADirectoryError(f"{dot} is a link")
    if tree != top and not tree.resolve().is_relative_to(top.resolve()):
        raise NotADirectoryError(f"{tree} leads out of the clone")
    if not dot.is_file():
        return dot
    text = files.read_regular(dot).decode(errors="replace").strip()
    gitdir = (tree / text.removeprefix("gitdir: ")).resolve()
    if not gitdir.is_relative_to((top / ".git").resolve()):
        raise NotADirectoryError(f"{dot} leads out of the clone")
    return gitdir


def _unfinished(gitdir: Path) -> Iterator[str]:
    for name in dict.fromkeys(word for file, word in _UNFINISHED.items() if (gitdir / file).exists()):
        yield f"a {name} is in progress"


async def _stashes(world: GitWorld, place: Path) -> tuple[str, ...]:
    git_dir = f"--git-dir={place}"
    what = "list its stashes"
    if not await read(world, git_dir, "for-each-ref", "refs/stash", folder=place, what=what):
        return ()
    log = ("log", "-z", "-g", "--format=%gd: %gs", "refs/stash", "--")
    out = await read(world, git_dir, *log, folder=place, what=what)
    entries = [f"stash {plain(entry)}" for entry in out.split("\0") if entry]
    return _some(entries or ["stash without a log"], "stashes")


async def _files(place: Path, tree: Path, walk: _Walk) -> tuple[str, ...]:
    out = await read(
        walk.world,
        *(f"--git-dir={place}", f"--work-tree={tree}", "status", "--porcelain=v1", "-z", "--no-renames"),
        *("--untracked-files=normal", "--ignore-submodules=dirty"),
        folder=tree,
        what="compare its files",
    )
    found = [entry for entry in out.split("\0") if len(entry) > 3]
    entries = [entry for entry in found if not await _is_agents(walk, place, tree, entry)]
    changed = [f"changed file {plain(entry[3:])}" for entry in entries if not entry.startswith("??")]
    untracked = [f"untracked {plain(entry[3:])}" for entry in entries if entry.startswith("??")]
    return (*_some(changed, "changed files"), *_some(untracked, "untracked files"))


async def _is_agents(walk: _Walk, place: Path, tree: Path, entry: str) -> bool:
    """Tell whether the agent by itself made this difference, which is nobody's work; `entry` is git's status line."""
    status, name = entry[:2], entry[3:]
    if status not in {" M", "M ", "??"} or not walk.driver.may_write(name.rstrip("/")):
        return False
    committed = None
    if status != "??":
        blob = (f"--git-dir={place}", "cat-file", "blob", f"HEAD:{name}")
        committed = await read(walk.world, *blob, folder=place, what="read it")
    return await asyncio.to_thread(walk.driver.wrote, tree, name, committed)


def _place(file: Path) -> str:
    """Return where a worktree is; never what a link leads to, which is none of the agent's business to have shown."""
    try:
        return files.read_regular(file, _LONGEST).decode(errors="replace")
    except OSError:
        return str(file.parent)


def _worktrees(gitdir: Path) -> tuple[str, ...]:
    places = [_place(file) for file in sorted(gitdir.glob("worktrees/*/gitdir"))]
    return _some([f"another worktree {plain(place).removesuffix('/.git')} needs it" for place in places], "worktrees")


async def _index(place: Path, tree: Path, depth: int, walk: _Walk) -> tuple[str, ...]:
    """Return files that `git status` is set to skip, and what submodules would lose."""
    out = await read(
        walk.world,
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
            deep = ("cannot tell: it is nested too deeply",)
            inside = await _work_at_risk(tree / name, depth - 1, walk) if depth else deep
            found += (f"in submodule {plain(name)}: {loss}" for loss in inside)
        elif (tag.islower() or tag == "S") and (tree / name).is_file():
            hidden.append(f"file {plain(name)} is hidden from git status")
    return (*_some(hidden, "hidden files"), *found)


def _some(entries: list[str], noun: str) -> tuple[str, ...]:
    if len(entries) <= SHOWN:
        return tuple(entries)
    return (*entries[:SHOWN], f"and {len(entries) - SHOWN} more {noun}")
