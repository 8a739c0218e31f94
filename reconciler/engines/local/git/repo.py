"""Test access to a project's repository, and change the ref or the URL of an existing clone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from reconciler.core import git_url
from reconciler.engines.local.git.cloning import MARK, clone, repo_facts, write_mark
from reconciler.engines.local.git.git import GitProblem, GitProblemKind, git, read, view
from reconciler.engines.local.git.remotes import (
    RemoteRef,
    check,
    fetch,
    fetch_commit,
    list_remote,
    resolve,
    write_known,
)
from reconciler.engines.local.git.submodules import missing
from reconciler.engines.local.git.unpushed_work import unpushed, work_at_risk
from reconciler.system import aio, files

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.engines.local.git.git_world import GitWorld

__all__ = [
    "GitProblem",
    "GitProblemKind",
    "checkout",
    "clone",
    "key_page",
    "moved_to",
    "repo_facts",
    "source_of",
    "test_access",
    "work_at_risk",
]

_KEY_PAGES: Final = {
    "github.com": "https://github.com/{path}/settings/keys/new",
    "gitlab.com": "https://gitlab.com/{path}/-/settings/repository#js-deploy-keys-settings",
    "bitbucket.org": "https://bitbucket.org/{path}/admin/access-keys/",
    "codeberg.org": "https://codeberg.org/{path}/settings/keys",
}
_SSH_HOSTS: Final = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
"""The same forges, for networks that let only port 443 through."""


async def test_access(url: str, *, world: GitWorld) -> None:
    """Test whether this remote accepts us; return nothing when it does.

    Raises:
        GitProblem: it does not, or cannot be reached.
    """
    await list_remote(url, ["HEAD"], world)


async def checkout(clone: Path, ref: str | None, *, world: GitWorld, source: str = "") -> None:
    """Check out another ref of the remote. Work is carried over or left alone, never overwritten.

    A branch that exists here already is checked out as it is, and moved on to the remote's when that loses nothing.

    Args:
        clone: the work tree.
        ref: as for `clone`.
        world: what git runs in.
        source: what git is given now, where that is not what the clone was made from.

    Raises:
        GitProblem: with kind DIRTY where work is in the way.
    """
    gitdir = clone / ".git"
    source = source or str((files.read_json(gitdir / MARK) or {}).get("source", ""))
    check(source, ref)
    what = f"check out {ref or 'the default branch'} in {clone}"
    target = await resolve(source, ref, world)
    if target == RemoteRef():
        return  # an empty remote has nothing to check out
    async with view(gitdir) as place:
        commit = await _fetch_target(source, target, place, world)
        await _guard_head(world, place, gitdir, what)
        await _switch(world, clone, target, commit, what)
    await write_known(world, gitdir)
    await _note_missing(world, clone)


async def _note_missing(world: GitWorld, clone: Path) -> None:
    """Record which submodules of the checked-out commit are missing: in an agent's clone, git fetches none for us."""
    async with view(clone / ".git") as place:
        lacks = await missing(world, clone, place)
    mark = files.read_json(clone / ".git" / MARK) or {}
    await aio.run_in_thread_shielded(write_mark, clone, str(mark.get("url", "")), str(mark.get("source", "")), lacks)


async def _fetch_target(source: str, target: RemoteRef, place: Path, world: GitWorld) -> str:
    """Fetch through the view, so that no setting of the clone applies; return the commit to detach at, if any."""
    if target.branch:
        await fetch(source, f"+refs/heads/{target.branch}:refs/remotes/origin/{target.branch}", place, world)
        return ""
    if target.tag:
        await fetch(source, f"+refs/tags/{target.tag}:refs/tags/{target.tag}", place, world)
        return f"refs/tags/{target.tag}"
    return await fetch_commit(source, target.commit, place, place, world)


async def _guard_head(world: GitWorld, place: Path, gitdir: Path, what: str) -> None:
    """Refuse to leave a detached HEAD that would strand commits which nothing else leads to."""
    if files.read_regular(place / "HEAD").startswith(b"ref:"):
        return
    if stranded := await unpushed(world, place, gitdir, stranded=True):
        message = f"cannot {what}: {stranded[0]} and is on no branch; push it or make a branch of it first"
        raise GitProblem(GitProblemKind.DIRTY, message)


async def _switch(world: GitWorld, clone: Path, target: RemoteRef, commit: str, what: str) -> None:
    safe = [f"--git-dir={clone / '.git'}", f"--work-tree={clone}", *await _without_filters(world, clone)]
    if not target.branch:
        await read(world, *safe, "switch", "--detach", commit, folder=clone, what=what)
        return
    local = await git(world, *safe, "show-ref", "--verify", "--quiet", f"refs/heads/{target.branch}", folder=clone)
    if local.code != 0:
        arguments = ("--create", target.branch, "--track", f"origin/{target.branch}")
        await read(world, *safe, "switch", *arguments, folder=clone, what=what)
        return
    await read(world, *safe, "switch", "--no-guess", target.branch, folder=clone, what=what)
    # Not possible where the branch has work of its own: then that stays, and the agent or a person merges.
    await git(world, *safe, "merge", "--ff-only", "--quiet", f"refs/remotes/origin/{target.branch}", folder=clone)


async def _without_filters(world: GitWorld, clone: Path) -> list[str]:
    """Return options that switch off every filter program which the clone's own settings name."""
    listing = ("config", "--list", "--show-scope", "--name-only", "-z")
    out = await read(world, *listing, folder=clone, what="read its settings")
    words = out.split("\0")
    keys = [key for scope, key in zip(words[::2], words[1::2], strict=False) if scope in {"local", "worktree"}]
    drivers = dict.fromkeys(key.rpartition(".")[0] for key in keys if key.startswith("filter."))
    settings = [f"{d}.{k}" for d in drivers for k in ("clean=", "smudge=", "process=", "required=false")]
    merges = [f"{key}=false" for key in dict.fromkeys(keys) if re.fullmatch(r"merge\..*\.driver", key)]
    return [word for setting in (*settings, *merges) for word in ("-c", setting)]


def source_of(url: str, folder: Path) -> str:
    """Return what git is given for a `git.url`: a local path is relative to the folder of the spec."""
    if git_url.transport(url) is not git_url.Transport.LOCAL:
        return url
    return str((folder / files.expanded(url)).resolve())


def moved_to(dest: Path, source: str) -> bool:
    """Tell whether somebody set the clone's own remote `origin` to this URL: the same repository at another place."""
    try:
        text = files.read_regular(dest / ".git" / "config").decode(errors="replace")
    except OSError:
        return False
    found = re.search(r'(?m)^\[remote "origin"\]\n(?:[ \t].*\n)*?[ \t]+url = (.+)$', text)
    return found is not None and found[1].strip().strip('"') == source


def key_page(url: str) -> str:
    """Return where a deploy key is added, as the end of a sentence; empty for an unknown forge."""
    found = git_url.remote(url)
    if found is None or not (path := found.path.strip("/").removesuffix(".git")):
        return ""
    host = found.host.lower()
    page = _KEY_PAGES.get(_SSH_HOSTS.get(host, host))
    return f": {page.format(path=path)}" if page else ""
