"""A clone whose files cannot be written keeps what was transferred, and nothing of it is left when it is not needed."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import repo
from reconciler.engines.local.git.git import GitProblem, GitProblemKind
from tests.support.clones import git_world, refused, work_at_risk
from tests.support.gitfaults import Authority, HttpsServer
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BIG = 300_000
LITTLE = 20_000
"""Bytes: more than an answer of git without objects has, and far less than the repository."""


class Place:
    """A repository that needs git-lfs, an https server before it, and where the clone goes."""

    def __init__(self, folder: Path, server: HttpsServer, origin: Origin) -> None:
        self.server = server
        self.origin = origin
        self.home = folder / "home"
        self.home.mkdir()
        self.dest = folder / "sandbox" / "repo"
        self.kept = folder / "sandbox" / ".repo.fetched"
        self.lfs("git-lfs-that-is-not-there")

    def lfs(self, program: str) -> None:
        """Which program the user's settings have for git-lfs."""
        (self.home / ".gitconfig").write_text(f'[filter "lfs"]\n\trequired\n\tclean = cat\n\tsmudge = {program} --\n')

    async def clone(self, ref: str | None = None, url: str = "") -> None:
        self.server.sent.clear()
        await repo.clone(url or self.server.url("origin.git"), ref, self.dest, world=git_world())

    async def fail(self, ref: str | None = None, url: str = "") -> None:
        assert (await refused(self.clone(ref, url))).kind is GitProblemKind.CHECKOUT

    def left(self) -> list[str]:
        return sorted({path.name for path in self.dest.parent.iterdir()} - {".repo.lock"})


@pytest.fixture(name="place")
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    origin, authority = Origin(tmp_path / "origin"), Authority(tmp_path / "ca")
    origin.commit(".gitattributes", "*.bin filter=lfs\n")
    origin.commit("big", os.urandom(BIG))
    origin.commit("x.bin", "pointer")
    with HttpsServer(authority.context("server"), origin.path.parent) as server:
        place = Place(tmp_path, server, origin)
        monkeypatch.setenv("HOME", str(place.home))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.setenv("GIT_SSL_CAINFO", str(authority.file))
        yield place


async def test_the_next_attempt_transfers_only_what_is_new(place: Place) -> None:
    """And writes the files, as they are on the remote by then."""
    await place.fail()
    first = sum(place.server.sent)
    await place.fail()
    second = sum(place.server.sent)
    newest = place.origin.commit("new", "new")
    place.lfs("cat")
    await place.clone()

    assert first > BIG > LITTLE > max(second, sum(place.server.sent))
    assert git(place.dest, "rev-parse", "HEAD", "origin/main") == f"{newest}\n{newest}"
    assert (place.dest / "x.bin").read_text() == "pointer"
    assert git(place.dest, "rev-parse", "--abbrev-ref", "@{upstream}") == "origin/main"
    assert git(place.dest, "remote", "get-url", "origin") == place.server.url("origin.git")
    assert await work_at_risk(place.dest) == ()
    assert place.left() == ["repo"]


@pytest.mark.parametrize("ref", ["dev", "v1", "{commit}"])
async def test_another_ref_is_checked_out_from_it(place: Place, ref: str) -> None:
    """Made on the remote after the attempt that failed."""
    await place.fail()
    commit = place.origin.commit("other", "x", branch="dev")
    place.origin.tag("v1", commit)
    place.lfs("cat")

    await place.clone(ref.format(commit=commit))

    assert sum(place.server.sent) < LITTLE
    assert git(place.dest, "rev-parse", "HEAD") == commit
    assert await work_at_risk(place.dest) == ()


async def test_one_attempt_is_kept_at_most_and_another_url_removes_it(place: Place) -> None:
    """As long as nothing was transferred of that one."""
    await place.fail()
    await place.fail()
    before = place.left()
    problem = await refused(place.clone(url=place.server.url("status/404/x")))

    assert before == [".repo.fetched"]
    assert problem.kind is GitProblemKind.NO_ACCESS
    assert place.left() == []


async def test_a_controller_killed_while_files_are_written_keeps_it_too(place: Place) -> None:
    """As it lies there then: under the name of an attempt."""
    await place.fail()
    place.kept.rename(place.kept.with_name(".repo.deadbeef.partial"))
    place.lfs("cat")

    await place.clone()

    assert sum(place.server.sent) < LITTLE
    assert place.left() == ["repo"]


async def test_a_network_fault_between_two_attempts_loses_nothing(place: Place) -> None:
    """It is asked for again when the remote is back."""
    await place.fail()
    place.server.answers_at_all = False
    problem = await refused(place.clone())
    place.server.answers_at_all = True
    place.lfs("cat")
    await place.clone()

    assert problem.kind is GitProblemKind.UNREACHABLE
    assert sum(place.server.sent) < LITTLE


@pytest.mark.parametrize("name", ["HEAD", "objects/??/*", "packed-refs", "opencode*"])
async def test_one_that_was_damaged_meanwhile_is_replaced(place: Place, name: str) -> None:
    """It may fail once more, and never for ever."""
    await place.fail()
    for path in (place.kept / ".git").glob(name):
        path.chmod(0o644)
        path.write_bytes(b"nonsense")
    place.lfs("cat")

    with contextlib.suppress(GitProblem):
        await place.clone()
    await place.clone()

    assert (place.dest / "big").stat().st_size == BIG
    assert place.left() == ["repo"]


async def test_one_whose_files_are_gone_is_replaced(place: Place) -> None:
    """What the remote announced is there, and a file of it is not: that shows when it is written."""
    await place.fail()
    objects = place.kept / ".git" / "objects"
    blob = git(place.origin.path, "rev-parse", "main:big")
    (objects / blob[:2] / blob[2:]).unlink()
    place.lfs("cat")

    damaged = await refused(place.clone())
    await place.clone()

    assert damaged.kind is GitProblemKind.DAMAGED
    assert (place.dest / "big").stat().st_size == BIG


async def test_nothing_that_somebody_wrote_into_it_runs(place: Place, tmp_path: Path) -> None:
    """It lies in the sandbox, where an agent may write: only objects and refs are taken."""
    await place.fail()
    mark, evil = tmp_path / "mark", tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    evil.chmod(0o755)
    gitdir = place.kept / ".git"
    (gitdir / "hooks").mkdir()
    (gitdir / "hooks" / "post-checkout").symlink_to(evil)
    names = "".join(f"\t{name} = {evil}\n" for name in ("fsmonitor", "sshCommand", "gitProxy", "askPass"))
    filters = "".join(f"\t{name} = {evil}\n" for name in ("smudge", "process", "clean"))
    (gitdir / "config").write_text(f'[core]\n{names}[filter "lfs"]\n{filters}[credential]\n\thelper = {evil}\n')
    place.lfs("cat")

    await place.clone()

    assert not mark.exists()
    assert not (place.dest / ".git" / "hooks").exists()
    assert str(evil) not in (place.dest / ".git" / "config").read_text()
