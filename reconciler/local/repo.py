"""The git clone of a project.

Belongs here: testing access, cloning, changing the ref, and what can be seen of a clone without asking git.
Does not belong here: how git is run and understood (`git`), what would be lost (`losses`), keys (`keys`).

A clone is made in a folder beside its place, marked when it is complete, and renamed: what has the mark is whole.
Submodules are not fetched: their urls come from the repository, and the agent can fetch them itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler import files, giturl
from reconciler.facts import RepoFacts
from reconciler.local.git import LOCAL_TIMEOUT, GitProblem, GitProblemKind, environment, git, plain, problem, read, view
from reconciler.local.losses import KNOWN_FILE, losses, unpushed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "GitProblem",
    "GitProblemKind",
    "checkout",
    "clone",
    "copy_identity",
    "key_page",
    "losses",
    "repo_facts",
    "test_access",
]

MARK: Final = "opencode-manager.json"
"""In `.git`, written last."""
ACCESS_TIMEOUT: Final = 90.0
"""Seconds to list a remote's refs: ssh gives up connecting after 15, a slow forge answers within 60."""
CLONE_TIMEOUT: Final = 3600.0
"""Seconds. A connection that stalls is noticed much earlier."""

_PROGRESS: Final = re.compile(r"(?:remote: )?([A-Z][a-z]+ [a-z]+): +(\d+)%")
_SHA: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
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


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What a ref turned out to be on the remote; with neither branch nor tag, a commit (or nothing at all)."""

    branch: str = ""
    tag: str = ""
    commit: str = ""


async def test_access(url: str, *, ssh_command: str) -> None:
    """Whether this remote lets us in; silent when it does.

    Raises:
        GitProblem: it does not, or cannot be reached.
    """
    await _list_remote(url, ["HEAD"], ssh_command)


async def clone(
    url: str,
    ref: str | None,
    dest: Path,
    *,
    ssh_command: str,
    recorded_url: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> None:
    """Clone and check out the ref. Nothing lies at `dest` before everything does; a whole clone there is kept.

    Args:
        url: what git is given: an ssh or https URL, or an absolute path.
        ref: a branch (checked out, tracking the remote's), a tag or a commit (both detached); None: the default branch.
        dest: the work tree to be; its folder is made.
        ssh_command: the value of GIT_SSH_COMMAND.
        recorded_url: what `repo_facts` is to say, when it is not `url`.
        on_progress: called with lines such as `receiving objects 43%`.

    Raises:
        GitProblem: it failed; nothing is left but what was there before.
    """
    _check(url, ref)
    files.private_folder(dest.parent)
    try:
        lock = files.LockFile(dest.with_name(f".{dest.name}.lock"))
    except files.LockHeld:
        message = f"cannot clone {plain(url)}: another clone into {dest} is under way"
        raise GitProblem(GitProblemKind.OTHER, message) from None
    try:
        there = await asyncio.to_thread(_clear_way, dest)
        if there != (recorded_url or url):
            await _clone_aside(url, ref, dest, ssh_command, (recorded_url or url, on_progress))
    finally:
        lock.close()


def _clear_way(dest: Path) -> str:
    """Remove what broken-off clones left; the url of a whole clone that is there already."""
    for leftover in dest.parent.glob(f".{dest.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    facts = repo_facts(dest)
    if facts.problem:
        raise GitProblem(GitProblemKind.OTHER, facts.problem)
    return facts.url


async def _clone_aside(
    url: str, ref: str | None, dest: Path, ssh_command: str, record: tuple[str, Callable[[str], None] | None]
) -> None:
    recorded_url, on_progress = record
    target = await _resolve(url, ref, ssh_command)
    partial = dest.with_name(f".{dest.name}.{secrets.token_hex(4)}.partial")
    try:
        await _fetch_all(url, target, partial, ssh_command, on_progress)
        await _write_known(partial / ".git")
        mark = json.dumps({"url": recorded_url, "source": url}).encode()
        files.replace_file(partial / ".git" / MARK, mark)
        partial.rename(dest)
        files.sync(dest.parent)
    finally:
        if partial.exists():
            # Not awaited: a cancelled clone removes its leftovers too.
            shutil.rmtree(partial, ignore_errors=True)


async def _fetch_all(
    url: str, target: _Target, partial: Path, ssh_command: str, on_progress: Callable[[str], None] | None
) -> None:
    arguments = ["clone", "--progress", "--no-local", "--origin=origin", "--template=", "--no-recurse-submodules"]
    arguments += ["--no-checkout"] if target.commit else []
    arguments += [f"--branch={target.branch or target.tag}"] if target.branch or target.tag else []
    result = await git(
        *(*arguments, "--", url, str(partial)),
        folder=partial.parent,
        ssh_command=ssh_command,
        timeout=CLONE_TIMEOUT,
        on_line=_progress(on_progress) if on_progress else None,
    )
    if result.code != 0:
        raise problem(f"clone {plain(url)}", result)
    if target.commit:
        commit = await _fetch_commit(url, target.commit, partial, partial / ".git", ssh_command)
        await read("switch", "--detach", commit, folder=partial, what=f"check out {commit} of {plain(url)}")


def _progress(report: Callable[[str], None]) -> Callable[[str], None]:
    last = ""

    def on_line(line: str) -> None:
        nonlocal last
        if (match := _PROGRESS.match(line)) and (text := f"{match[1].lower()} {match[2]}%") != last:
            last = text
            report(text)

    return on_line


async def checkout(clone: Path, ref: str | None, *, ssh_command: str) -> None:
    """Bring a clone to another ref of its remote. Work is carried over or left alone, never overwritten.

    A branch that exists here already is checked out as it is, and moved on to the remote's when that loses nothing.

    Args:
        clone: the work tree.
        ref: as for `clone`.
        ssh_command: the value of GIT_SSH_COMMAND.

    Raises:
        GitProblem: with kind DIRTY where work is in the way.
    """
    gitdir = clone / ".git"
    source = str((files.read_json(gitdir / MARK) or {}).get("source", ""))
    _check(source, ref)
    what = f"check out {ref or 'the default branch'} in {clone}"
    target = await _resolve(source, ref, ssh_command)
    if target == _Target():
        return  # an empty remote has nothing to check out
    with view(gitdir) as place:
        commit = await _fetch_target(source, target, place, ssh_command)
        await _guard_head(place, gitdir, what)
        await _switch(clone, target, commit, what)
    await _write_known(gitdir)


async def _fetch_target(source: str, target: _Target, place: Path, ssh_command: str) -> str:
    """Fetch through the view, so that no setting of the clone has a say; the commit to detach at, if any."""
    if target.branch:
        await _fetch(source, f"+refs/heads/{target.branch}:refs/remotes/origin/{target.branch}", place, ssh_command)
        return ""
    if target.tag:
        await _fetch(source, f"+refs/tags/{target.tag}:refs/tags/{target.tag}", place, ssh_command)
        return f"refs/tags/{target.tag}"
    return await _fetch_commit(source, target.commit, place, place, ssh_command)


async def _fetch_commit(source: str, commit: str, folder: Path, gitdir: Path, ssh_command: str) -> str:
    """The full name of a commit (or of what a `refs/...` name leads to), fetched where no branch had it."""
    if not commit.startswith("refs/"):
        for refspec in ("", "+refs/heads/*:refs/remotes/origin/*", commit):
            if refspec and (refspec != commit or _SHA.fullmatch(commit)):
                await _fetch(source, refspec, gitdir, ssh_command)
            if found := await _find(commit, gitdir):
                return found
        hint = "" if _SHA.fullmatch(commit) else " (give a commit that is on no branch in full)"
        message = f"cannot find {commit} in {plain(source)}: it is no branch, no tag and no commit{hint}"
        raise GitProblem(GitProblemKind.NO_SUCH_REF, message)
    await _fetch(source, commit, gitdir, ssh_command)
    return (await read(f"--git-dir={gitdir}", "rev-parse", "FETCH_HEAD", folder=folder, what=f"find {commit}")).strip()


async def _fetch(source: str, refspec: str, gitdir: Path, ssh_command: str) -> None:
    result = await git(
        *(f"--git-dir={gitdir}", "fetch", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"),
        *("--update-head-ok", "--", source, refspec),
        folder=gitdir,
        ssh_command=ssh_command,
        timeout=CLONE_TIMEOUT,
    )
    if result.code != 0:
        raise problem(f"fetch {plain(refspec.partition(':')[0].lstrip('+'))} from {plain(source)}", result)


async def _find(commit: str, gitdir: Path) -> str:
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    result = await git(f"--git-dir={gitdir}", *arguments, folder=gitdir)
    return result.out.strip() if result.code == 0 else ""


async def _guard_head(place: Path, gitdir: Path, what: str) -> None:
    """Leaving a detached HEAD strands the commits that nothing else leads to."""
    if (place / "HEAD").read_text().startswith("ref:"):
        return
    if stranded := await unpushed(place, gitdir, stranded=True):
        message = f"cannot {what}: {stranded[0]} and is on no branch; push it or make a branch of it first"
        raise GitProblem(GitProblemKind.DIRTY, message)


async def _switch(clone: Path, target: _Target, commit: str, what: str) -> None:
    safe = [f"--git-dir={clone / '.git'}", f"--work-tree={clone}", *await _without_filters(clone)]
    if not target.branch:
        await read(*safe, "switch", "--detach", commit, folder=clone, what=what)
        return
    local = await git(*safe, "show-ref", "--verify", "--quiet", f"refs/heads/{target.branch}", folder=clone)
    if local.code != 0:
        arguments = ("--create", target.branch, "--track", f"origin/{target.branch}")
        await read(*safe, "switch", *arguments, folder=clone, what=what)
        return
    await read(*safe, "switch", "--no-guess", target.branch, folder=clone, what=what)
    # Not possible where the branch has work of its own: then that stays, and the agent or a person merges.
    await git(*safe, "merge", "--ff-only", "--quiet", f"refs/remotes/origin/{target.branch}", folder=clone)


async def _without_filters(clone: Path) -> list[str]:
    """Options that switch off every filter program which the clone's own settings name."""
    out = await read("config", "--list", "--show-scope", "--name-only", "-z", folder=clone, what="read its settings")
    words = out.split("\0")
    keys = [key for scope, key in zip(words[::2], words[1::2], strict=False) if scope in {"local", "worktree"}]
    drivers = dict.fromkeys(key.rpartition(".")[0] for key in keys if key.startswith("filter."))
    settings = [f"{d}.{k}" for d in drivers for k in ("clean=", "smudge=", "process=", "required=false")]
    merges = [f"{key}=false" for key in dict.fromkeys(keys) if re.fullmatch(r"merge\..*\.driver", key)]
    return [word for setting in (*settings, *merges) for word in ("-c", setting)]


async def _resolve(url: str, ref: str | None, ssh_command: str) -> _Target:
    """What the ref is on the remote, asked before anything is fetched."""
    patterns = ["HEAD"] if ref is None else [f"refs/heads/{ref}", f"refs/tags/{ref}", ref]
    refs, default = await _list_remote(url, patterns, ssh_command)
    if ref is None:
        return _Target(branch=default) if default else _Target(commit=refs.get("HEAD", ""))
    if f"refs/heads/{ref}" in refs:
        return _Target(branch=ref)
    if f"refs/tags/{ref}" in refs:
        return _Target(tag=ref)
    if ref.startswith("refs/heads/") and ref in refs:
        return _Target(branch=ref.removeprefix("refs/heads/"))
    if (ref.startswith("refs/") and ref in refs) or re.fullmatch(r"[0-9a-f]{4,64}", ref):
        return _Target(commit=ref)
    message = f"cannot find {ref} in {plain(url)}: it has no such branch or tag"
    raise GitProblem(GitProblemKind.NO_SUCH_REF, message)


async def _list_remote(url: str, patterns: list[str], ssh_command: str) -> tuple[dict[str, str], str]:
    """The remote's refs (name to commit) that end with one of the patterns, and the branch HEAD means."""
    _check(url, None)
    result = await git(
        *("ls-remote", "--symref", "--", url, *patterns),
        folder=Path("/"),
        ssh_command=ssh_command,
        timeout=ACCESS_TIMEOUT,
    )
    if result.code != 0:
        raise problem(f"reach {plain(url)}", result)
    pairs = [line.partition("\t")[::2] for line in result.out.splitlines()]
    default = next(
        (value.removeprefix("ref: ") for value, name in pairs if name == "HEAD" and value[:5] == "ref: "), ""
    )
    refs = {name: value for value, name in pairs if _SHA.fullmatch(value)}
    # A remote whose HEAD means a branch that was never made answers with no commit for it.
    return refs, default.removeprefix("refs/heads/") if "HEAD" in refs else ""


async def _write_known(gitdir: Path) -> None:
    """Remember what came from the remote besides branches: tags, and a commit that is on no branch."""
    with view(gitdir) as place:
        git_dir = f"--git-dir={place}"
        tags = await read(
            git_dir, "for-each-ref", "--format=%(objectname)", "refs/tags", folder=place, what="list tags"
        )
        head = await _find("HEAD", place)
    known = dict.fromkeys([*tags.split(), head])
    files.replace_file(gitdir / KNOWN_FILE, "".join(f"{name}\n" for name in known if name).encode())


def _check(url: str, ref: str | None) -> None:
    """Git must never take a url or a ref for an option or a command, whoever validated it before."""
    try:
        if not url.startswith("/") or "\0" in url:
            giturl.check_git_url(url)
        if ref is not None:
            giturl.check_ref(ref)
    except ValueError as error:
        raise GitProblem(GitProblemKind.OTHER, str(error)) from None
    if not url.startswith("/") and giturl.transport(url) is giturl.Transport.LOCAL:
        raise GitProblem(GitProblemKind.OTHER, "cannot use a relative path as a git url: give an absolute one")


def repo_facts(dest: Path) -> RepoFacts:
    """What lies at the place of the clone, without asking git: cheap enough for every look."""
    mark = files.read_json(dest / ".git" / MARK)
    if mark is not None and isinstance(mark.get("url"), str) and not dest.is_symlink():
        if (dest / ".git" / "HEAD").is_file() and (dest / ".git" / "objects").is_dir():
            return RepoFacts(cloned=True, url=mark["url"])
        return RepoFacts(
            problem=f"cannot use {dest}: its .git is damaged; mend it, or move it away and it is cloned anew"
        )
    if not dest.exists() and not dest.is_symlink():
        return RepoFacts()
    if dest.is_dir() and not dest.is_symlink() and not any(dest.iterdir()):
        return RepoFacts()
    return RepoFacts(
        problem=f"cannot use {dest}: it is no clone made by the manager; move it away and it is cloned anew"
    )


def key_page(url: str) -> str:
    """Where a deploy key is added, as the end of a sentence; empty for a forge we do not know."""
    found = giturl.remote(url)
    if found is None or not (path := found.path.strip("/").removesuffix(".git")):
        return ""
    host = found.host.lower()
    page = _KEY_PAGES.get(_SSH_HOSTS.get(host, host))
    return f": {page.format(path=path)}" if page else ""


def copy_identity(source: Path, dest: Path) -> None:
    """Give the agent the user's name and address to commit with, and nothing else of the user's git settings.

    Args:
        source: the user's git settings.
        dest: a file to make; it is left out when the user has no name either.
    """
    lines = []
    for key in ("name", "email"):
        argv = ["git", "config", "--file", str(source), "--includes", "--get", f"user.{key}"]
        try:
            result = subprocess.run(  # called off the loop
                argv, env=environment(), capture_output=True, text=True, timeout=LOCAL_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return  # a name is a courtesy
        if value := result.stdout.strip():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'\t{key} = "{escaped}"\n')
    if lines:
        files.replace_file(dest, f"[user]\n{''.join(lines)}".encode())
