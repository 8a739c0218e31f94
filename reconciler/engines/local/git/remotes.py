"""Resolve refs on the remote of a clone, and fetch them.

Works with a checked URL, through a git folder without anybody else's settings.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.core import git_url
from reconciler.engines.local.git.git import GitProblem, GitProblemKind, git, plain, problem, read, view
from reconciler.engines.local.git.unpushed_work import KNOWN_FILE
from reconciler.system import aio, files

if TYPE_CHECKING:
    from reconciler.engines.local.git.git_world import GitWorld

ACCESS_TIMEOUT: Final = 90.0
"""Seconds to list a remote's refs: ssh gives up connecting after 15, a slow forge answers within 60."""
CLONE_TIMEOUT: Final = 3600.0
"""Seconds. A connection that stalls is noticed much earlier."""

REWRITTEN: Final = "remove that rule from your git settings, or write the url that is meant into git.url"
"""What to do about an address that the user's settings make of another."""
_KEPT_BACK: Final = (
    "your own way to log in there (a credential helper, or the like) is not handed to this project: set "
    "git.credentials: user in the spec to hand it over, or write its ssh url into git.url"
)
_SHA: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class RemoteRef:
    """What a ref is on the remote; with neither branch nor tag, a commit (or nothing at all)."""

    branch: str = ""
    tag: str = ""
    commit: str = ""


async def resolve(url: str, ref: str | None, world: GitWorld) -> RemoteRef:
    """Resolve the ref on the remote, before anything is fetched.

    Raises:
        GitProblem: it is not there, or the remote cannot be asked.
    """
    patterns = ["HEAD"] if ref is None else [f"refs/heads/{ref}", f"refs/tags/{ref}", ref]
    refs, default = await list_remote(url, patterns, world)
    if ref is None:
        check("/", default or None)
        return RemoteRef(branch=default) if default else RemoteRef(commit=refs.get("HEAD", ""))
    if f"refs/heads/{ref}" in refs:
        return RemoteRef(branch=ref)
    if f"refs/tags/{ref}" in refs:
        return RemoteRef(tag=ref)
    if ref.startswith("refs/heads/") and ref in refs:
        return RemoteRef(branch=ref.removeprefix("refs/heads/"))
    if (ref.startswith("refs/") and ref in refs) or re.fullmatch(r"[0-9a-f]{4,64}", ref):
        return RemoteRef(commit=ref)
    message = f"cannot find {ref} in {plain(url)}: it has no such branch or tag"
    raise GitProblem(GitProblemKind.NO_SUCH_REF, message)


async def list_remote(url: str, patterns: list[str], world: GitWorld) -> tuple[dict[str, str], str]:
    """Return the remote's refs (name to commit) that end with one of the patterns, and the branch HEAD means.

    Raises:
        GitProblem: it does not let us in, or cannot be reached.
    """
    check(url, None)
    if world.problem is not None:
        raise world.problem
    result = await git(
        world,
        *("ls-remote", "--symref", "--", url, *patterns),
        folder=Path("/"),
        timeout=ACCESS_TIMEOUT,
    )
    if result.code != 0:
        raise _explained(world, url, problem(f"reach {plain(url)}", result))
    pairs = [line.partition("\t")[::2] for line in result.out.splitlines()]
    default = next(
        (value.removeprefix("ref: ") for value, name in pairs if name == "HEAD" and value[:5] == "ref: "), ""
    )
    refs = {name: value for value, name in pairs if _SHA.fullmatch(value)}
    # A remote whose HEAD means a branch that was never made answers with no commit for it.
    return refs, default.removeprefix("refs/heads/") if "HEAD" in refs else ""


def _explained(world: GitWorld, url: str, found: GitProblem) -> GitProblem:
    """Add to a problem what git does not say itself: another address by its settings, a folder, a proxy, a login."""
    real = world.rewrites.fetched(url)
    if found.kind is GitProblemKind.NO_ACCESS and not found.advice and world.keeps_back_login(real):
        found = GitProblem(found.kind, str(found), _KEPT_BACK)
    if real == url and git_url.transport(url) is git_url.Transport.LOCAL:
        return GitProblem(found.kind, f"{found}{_about_folder(Path(url))}", found.advice)
    if real != url:
        message = f"{found} (your git settings make {plain(real)} of it, by url.<base>.insteadOf)"
        return GitProblem(found.kind, message, found.advice or REWRITTEN)
    if found.kind is GitProblemKind.UNREACHABLE and (proxy := _proxy_in(str(found), world)):
        return GitProblem(
            found.kind, f"{found}, which is the proxy that {proxy} names", "correct it, or start the proxy"
        )
    return found


def _about_folder(path: Path) -> str:
    try:
        with os.scandir(path):
            return ""
    except FileNotFoundError:
        return " (nothing is there)"
    except PermissionError:
        return " (this user may not read it)"
    except OSError:
        return ""


def _proxy_in(text: str, world: GitWorld) -> str:
    """Return the variable of the proxy that a message of git is about; empty when there is none."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        address = world.environment.get(name, "").rpartition("@")[2].rpartition("//")[2].strip("/")
        host, _, port = address.rpartition(":")
        if host and re.search(rf"\b{re.escape(host)} port {re.escape(port)}\b", text):
            return name
    return ""


async def fetch_commit(source: str, commit: str, folder: Path, gitdir: Path, world: GitWorld) -> str:
    """Return the full name of a commit (or of what a `refs/...` name leads to), fetched if no branch had it.

    Raises:
        GitProblem: it is not there.
    """
    if not commit.startswith("refs/"):
        for refspec in ("", "+refs/heads/*:refs/remotes/origin/*", commit):
            if refspec and (refspec != commit or _SHA.fullmatch(commit)):
                await fetch(source, refspec, gitdir, world)
            if found := await find(world, commit, gitdir):
                return found
        hint = "" if _SHA.fullmatch(commit) else " (give a commit that is on no branch in full)"
        message = f"cannot find {commit} in {plain(source)}: it is no branch, no tag and no commit{hint}"
        raise GitProblem(GitProblemKind.NO_SUCH_REF, message)
    await fetch(source, commit, gitdir, world)
    return (
        await read(world, f"--git-dir={gitdir}", "rev-parse", "FETCH_HEAD", folder=folder, what=f"find {commit}")
    ).strip()


async def fetch(source: str, refspec: str, gitdir: Path, world: GitWorld) -> None:
    """Fetch what this refspec names. Raises GitProblem."""
    result = await git(
        world,
        *(f"--git-dir={gitdir}", "fetch", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"),
        *("--update-head-ok", "--", source, refspec),
        folder=gitdir,
        timeout=CLONE_TIMEOUT,
    )
    if result.code != 0:
        raise problem(f"fetch {plain(refspec.partition(':')[0].lstrip('+'))} from {plain(source)}", result)


async def find(world: GitWorld, commit: str, gitdir: Path) -> str:
    """Return the full name of a commit that is present; else empty."""
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    result = await git(world, f"--git-dir={gitdir}", *arguments, folder=gitdir)
    return result.out.strip() if result.code == 0 else ""


async def write_known(world: GitWorld, gitdir: Path) -> None:
    """Record what came from the remote besides branches: tags, and a commit that is on no branch."""
    async with view(gitdir) as place:
        git_dir = f"--git-dir={place}"
        tags = await read(
            world, git_dir, "for-each-ref", "--format=%(objectname)", "refs/tags", folder=place, what="list tags"
        )
        head = await find(world, "HEAD", place)
    known = dict.fromkeys([*tags.split(), head])
    text = "".join(f"{name}\n" for name in known if name).encode()
    await aio.run_in_thread_shielded(files.replace_file, gitdir / KNOWN_FILE, text)


def check(url: str, ref: str | None) -> None:
    """Check that git cannot take a URL or a ref for an option or a command, though it was validated before."""
    try:
        if not url.startswith("/") or "\0" in url:
            git_url.check_git_url(url)
        if ref is not None:
            git_url.check_ref(ref)
    except ValueError as error:
        raise GitProblem(GitProblemKind.OTHER, str(error)) from None
    if not url.startswith("/") and git_url.transport(url) is git_url.Transport.LOCAL:
        raise GitProblem(GitProblemKind.OTHER, "cannot use a relative path as a git url: give an absolute one")
