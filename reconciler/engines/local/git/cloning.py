"""Make the clone of a project, and describe it without asking git.

A clone is made in a folder beside its place, marked when it is complete, and renamed: what has the mark is complete.
When everything was transferred and only the files cannot be written, the transfer is kept beside it for the next
attempt, which then asks the remote for what is new and writes the files. At most one is kept, within the sandbox;
another URL, a complete clone, or a broken transfer removes it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from reconciler.engines.local.facts import RepoFacts
from reconciler.engines.local.git.git import (
    GitProblem,
    GitProblemKind,
    git,
    minimal_config,
    plain,
    problem,
    read,
)
from reconciler.engines.local.git.remotes import (
    CLONE_TIMEOUT,
    check,
    fetch,
    fetch_commit,
    resolve,
    write_known,
)
from reconciler.engines.local.git.submodules import Lack, fetch_submodules
from reconciler.system import aio, files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.engines.local.git.git_world import GitWorld
    from reconciler.engines.local.git.remotes import RemoteRef

MARK: Final = "opencode-manager.json"
"""In `.git`, written last."""
_FETCHED: Final = "opencode-manager.fetched"
"""In `.git` of a clone in the making: its remote, written when all of that was transferred."""
_KEPT: Final = ("HEAD", "objects", "refs", "packed-refs", "shallow", "lfs")
"""Of the `.git` of a transfer that is kept: what cannot name a program."""
_INNOCENT: Final = frozenset(GitProblemKind) - {GitProblemKind.DAMAGED, GitProblemKind.OTHER}
"""Failures that say nothing against what was transferred."""
_DAMAGED_FOR: Final = 600.0
"""Seconds for which a repository that is not whole is not transferred again."""
_LITTLE: Final = 16 * 2**20
"""Bytes. Where less is free, that is why a file cannot be written: git does not say it."""
_SHOWN: Final = 5
"""Submodules that are missing, each with its reason."""

_PROGRESS: Final = re.compile(r"(?:remote: )?([A-Z][a-z]+ [a-z]+): +(\d+)%")


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A clone to be made."""

    url: str
    dest: Path
    world: GitWorld
    recorded_url: str
    on_line: Callable[[str], None] | None

    @property
    def kept(self) -> Path:
        """Return where a transfer waits whose files could not be written."""
        return self.dest.with_name(f".{self.dest.name}.fetched")


@dataclass(frozen=True, kw_only=True)
class _Futile:
    """A transfer failed for a reason that does not go away within moments."""

    url: str
    sandbox: int
    """The inode of its folder: after a destroy it is another."""
    problem: GitProblem
    free: int
    """Bytes when it began."""
    at: float


_futile: dict[Path, _Futile] = {}
"""By the place of the clone. Forgotten with this process, which costs one more transfer."""


async def clone(
    url: str,
    ref: str | None,
    dest: Path,
    *,
    world: GitWorld,
    recorded_url: str | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> None:
    """Clone and check out the ref. Nothing lies at `dest` until it is complete; a complete clone there is kept.

    Submodules that cannot be fetched are no failure: `repo_facts` says what is missing.

    Args:
        url: what git is given: an ssh or https URL, or an absolute path.
        ref: a branch (checked out, tracking the remote's), a tag or a commit (both detached); None: the default branch.
        dest: the work tree to be; its folder is made.
        world: what git runs in.
        recorded_url: what `repo_facts` is to say, when it is not `url`.
        on_progress: called with lines such as `receiving objects 43%`.

    Raises:
        GitProblem: it failed; nothing is left but what was there before, and what was transferred when that is whole.
    """
    check(url, ref)
    files.private_folder(dest.parent)
    try:
        lock = files.LockFile(dest.with_name(f".{dest.name}.lock"))
    except files.LockHeld:
        message = f"cannot clone {plain(url)}: another clone into {dest} is in progress"
        raise GitProblem(GitProblemKind.OTHER, message) from None
    job = _Job(
        url=url,
        dest=dest,
        world=world,
        recorded_url=recorded_url or url,
        on_line=_progress(on_progress) if on_progress else None,
    )
    try:
        there = await aio.run_in_thread_shielded(_clear_way, job)
        if there != job.recorded_url:
            await _clone_aside(job, ref)
    finally:
        lock.close()


def _clear_way(job: _Job) -> str:
    """Remove what aborted clones left, except a complete transfer; return the URL of a complete clone, if any."""
    for leftover in job.dest.parent.glob(f".{job.dest.name}.*.partial"):
        _keep_or_remove(leftover, job)
    facts = repo_facts(job.dest)
    if facts.problem:
        raise GitProblem(GitProblemKind.OTHER, facts.problem)
    if facts.url == job.recorded_url or _fetched(job.kept) != job.url:
        _remove(job.kept)
    return facts.url


def _fetched(folder: Path) -> str:
    """Return the remote whose objects this folder has completely; empty when it has not."""
    gitdir = folder / ".git"
    if folder.is_symlink() or gitdir.is_symlink() or not gitdir.is_dir():
        return ""
    return str((files.read_json(gitdir / _FETCHED) or {}).get("source", ""))


def _keep_or_remove(partial: Path, job: _Job) -> None:
    """Keep of an attempt what spares the next one the transfer; remove the rest."""
    if _fetched(partial) == job.url:
        _remove(job.kept)
        partial.rename(job.kept)
    else:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, ignore_errors=True)


async def _clone_aside(job: _Job, ref: str | None) -> None:
    target = await resolve(job.url, ref, job.world)
    partial = job.dest.with_name(f".{job.dest.name}.{secrets.token_hex(4)}.partial")
    try:
        await _transfer(job, target, partial)
        await _write_files(job, target, partial)
        await write_known(job.world, partial / ".git")
        lacks = await fetch_submodules(partial, job.url, job.world)
        await aio.run_in_thread_shielded(_complete, partial, job, lacks)
    except GitProblem as failed:
        if failed.kind not in _INNOCENT:
            (partial / ".git" / _FETCHED).unlink(missing_ok=True)  # it may be what is wrong: from nothing next time
        raise
    finally:
        if partial.exists():  # a cancelled clone removes its leftovers too: a large one takes seconds
            await aio.run_in_thread_shielded(_keep_or_remove, partial, job)


def _complete(partial: Path, job: _Job, lacks: tuple[Lack, ...]) -> None:
    """Mark a clone as complete and move it into place; both survive a power cut."""
    write_mark(partial, job.recorded_url, job.url, lacks)
    (partial / ".git" / _FETCHED).unlink(missing_ok=True)
    partial.rename(job.dest)
    files.sync(job.dest.parent)


async def _transfer(job: _Job, target: RemoteRef, partial: Path) -> None:
    """Fetch all objects, with as little traffic as possible."""
    if _fetched(job.kept) == job.url:
        await aio.run_in_thread_shielded(_salvage, job.kept, partial)
        gitdir = partial / ".git"
        setting = ("config", "--file", str(gitdir / "config"), "remote.origin.url", job.url)
        await read(job.world, *setting, folder=partial, what="")
        await fetch(job.url, "+refs/heads/*:refs/remotes/origin/*", gitdir, job.world)
        if target.tag:
            await fetch(job.url, f"+refs/tags/{target.tag}:refs/tags/{target.tag}", gitdir, job.world)
        return
    free = _free(partial.parent)
    _spare(job, free)
    try:
        await _fetch_all(job, target, partial)
    except GitProblem as failed:
        if failed.kind in {GitProblemKind.DISK_FULL, GitProblemKind.DAMAGED}:
            _futile[job.dest] = _Futile(
                url=job.url,
                sandbox=partial.parent.stat().st_ino,
                problem=failed,
                free=free,
                at=time.monotonic(),
            )
        raise
    note = json.dumps({"source": job.url}).encode()
    await aio.run_in_thread_shielded(files.replace_file, partial / ".git" / _FETCHED, note)


def _spare(job: _Job, free: int) -> None:
    """Fail at once where the whole transfer would only fail again, as far as that is known."""
    noted = _futile.pop(job.dest, None)
    if noted is None or (noted.url, noted.sandbox) != (job.url, job.dest.parent.stat().st_ino):
        return
    full = noted.problem.kind is GitProblemKind.DISK_FULL
    if free > noted.free + _LITTLE if full else time.monotonic() > noted.at + _DAMAGED_FOR:
        return
    _futile[job.dest] = noted
    why = f" (no more is free than then: {free / 1e6:.1f} MB)" if full else " (so it was within the last 10 minutes)"
    raise GitProblem(noted.problem.kind, f"{noted.problem}{why}", noted.problem.advice)


def _salvage(kept: Path, partial: Path) -> None:
    """Make a git folder with the objects and refs of a kept one, without its settings: an agent may write there."""
    old, new = kept / ".git", partial / ".git"
    new.mkdir(parents=True)
    settings = minimal_config(old / "config") if (old / "config").is_file() else ""
    for name in (*_KEPT, _FETCHED):
        if (old / name).exists() and not (old / name).is_symlink():
            (old / name).rename(new / name)
    (new / "objects" / "info" / "alternates").unlink(missing_ok=True)
    remote = '[remote "origin"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'
    (new / "config").write_text(f"{settings}[core]\n\tlogallrefupdates = true\n{remote}")
    _remove(kept)


async def _fetch_all(job: _Job, target: RemoteRef, partial: Path) -> None:
    arguments = ["clone", "--progress", "--no-local", "--origin=origin", "--template=", "--no-recurse-submodules"]
    arguments += ["--no-checkout"]
    arguments += [f"--branch={target.branch or target.tag}"] if target.branch or target.tag else []
    what = f"clone {plain(job.url)}"
    result = await git(
        job.world,
        *(*arguments, "--", job.url, str(partial)),
        folder=partial.parent,
        timeout=CLONE_TIMEOUT,
        on_line=job.on_line,
    )
    if result.code == 0:
        return
    found = problem(what, result)
    if found.kind is GitProblemKind.NO_SUCH_REF and "not our ref" in str(found):
        # Nobody asked for it by name: the remote announced it, and then had it not.
        raise GitProblem(GitProblemKind.DAMAGED, str(found))
    raise found


async def _write_files(job: _Job, target: RemoteRef, partial: Path) -> None:
    """Check out what was transferred; filters of the user's settings (such as git-lfs) work here."""
    if not (target.branch or target.tag or target.commit):
        return  # an empty remote has nothing to check out
    what = f"check out {target.branch or target.tag or target.commit} of {plain(job.url)}"
    if target.branch:
        where = ["--force-create", target.branch, "--track", f"origin/{target.branch}"]
    elif target.tag:
        where = ["--detach", f"refs/tags/{target.tag}"]
    else:
        gitdir = partial / ".git"
        where = ["--detach", await fetch_commit(job.url, target.commit, partial, gitdir, job.world)]
    result = await git(
        job.world,
        *("switch", "--progress", "--discard-changes", *where),
        folder=partial,
        timeout=CLONE_TIMEOUT,
        on_line=job.on_line,
    )
    if result.code == 0:
        return
    found = problem(what, result, GitProblemKind.CHECKOUT)
    if "unable to write" in str(found) and (free := _free(partial)) < _LITTLE:
        raise GitProblem(GitProblemKind.DISK_FULL, f"{found} ({free / 1e6:.1f} MB are free there)")
    raise found


def _free(path: Path) -> int:
    about = os.statvfs(path)
    return about.f_bavail * about.f_frsize


def _progress(report: Callable[[str], None]) -> Callable[[str], None]:
    last = ""

    def on_line(line: str) -> None:
        nonlocal last
        if (match := _PROGRESS.match(line)) and (text := f"{match[1].lower()} {match[2]}%") != last:
            last = text
            report(text)

    return on_line


def write_mark(clone: Path, url: str, source: str, lacks: tuple[Lack, ...]) -> None:
    """Record that this clone is complete, its remote, and which submodules are missing."""
    mark = {"url": url, "source": source, "lacks": [[lack.path, lack.why] for lack in lacks]}
    files.replace_file(clone / ".git" / MARK, json.dumps(mark).encode())


def repo_facts(dest: Path) -> RepoFacts:
    """Describe the clone without asking git: cheap enough for every observation."""
    mark = files.read_json(dest / ".git" / MARK)
    if mark is not None and isinstance(mark.get("url"), str) and not dest.is_symlink():
        if (dest / ".git" / "HEAD").is_file() and (dest / ".git" / "objects").is_dir():
            return RepoFacts(cloned=True, url=mark["url"], warnings=_lacks(dest, mark.get("lacks")))
        return RepoFacts(
            problem=f"cannot use {dest}: its .git is damaged; fix it, or move it away and it is cloned again"
        )
    if not dest.exists() and not dest.is_symlink():
        return RepoFacts()
    if dest.is_dir() and not dest.is_symlink() and not any(dest.iterdir()):
        return RepoFacts()
    return RepoFacts(
        problem=f"cannot use {dest}: it is no clone made by the manager; move it away and it is cloned again"
    )


def _lacks(dest: Path, noted: Any) -> tuple[str, ...]:  # noqa: ANN401  an agent may have written it
    """Return a sentence about submodules that are still missing, without those that were fetched by hand since."""
    pairs = [pair for pair in noted if isinstance(pair, list) and len(pair) == 2] if isinstance(noted, list) else []
    texts = [
        plain(why, 600)
        for path, why in pairs
        if isinstance(path, str) and isinstance(why, str) and path.isprintable() and not (dest / path / ".git").exists()
    ]
    more = (f"and {len(texts) - _SHOWN} more submodules are missing",) if len(texts) > _SHOWN else ()
    return (*texts[:_SHOWN], *more)
