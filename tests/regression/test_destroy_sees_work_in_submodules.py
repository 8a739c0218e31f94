"""What destroying would lose in submodules, wherever it is; and nothing beyond the clone is ever touched for it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import repo
from tests.support.clones import cloned, git_world, work_at_risk
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="library")
def _library(tmp_path: Path) -> Origin:
    library = Origin(tmp_path, "library.git")
    library.commit("l", "one")
    return library


@pytest.fixture(name="clone")
async def _clone(tmp_path: Path, library: Origin) -> Path:
    """Made by the manager, with a submodule at a commit that is on no branch any more, and a branch without it."""
    origin = Origin(tmp_path, "origin.git")
    origin.commit("a", "one")
    origin.commit("a", "two", branch="without")
    git(origin.work, "switch", "--quiet", "main")
    gone = library.commit("l", "two", branch="gone")
    git(origin.work, "submodule", "--quiet", "add", "--branch", "gone", str(library.path), "lib")
    git(origin.work, "commit", "--quiet", "--message", "with a library")
    git(origin.work, "push", "--quiet", "origin", "main")
    git(library.path, "update-ref", "refs/tags/keep", gone)
    git(library.path, "update-ref", "-d", "refs/heads/gone")
    return await cloned(origin, tmp_path / "sb" / "repo")


def commit(tree: Path, subject: str) -> str:
    git(tree, "commit", "--quiet", "--allow-empty", "--message", subject)
    return git(tree, "rev-parse", "--short", "HEAD")


async def test_what_was_fetched_is_no_loss(clone: Path) -> None:
    """Though no branch there leads to it."""
    assert (clone / "lib" / "l").read_text() == "two"
    assert await work_at_risk(clone) == ()


async def test_a_commit_in_one_that_another_branch_has_not(clone: Path) -> None:
    """Git keeps its folder when its files go."""
    mine = commit(clone / "lib", "mine")
    git(clone, "switch", "--quiet", "without")
    shutil.rmtree(clone / "lib", ignore_errors=True)

    assert await work_at_risk(clone) == (
        f"in submodule lib, which is not checked out: commit {mine} on HEAD: mine is not pushed",
    )


async def test_a_stash_in_one_that_was_taken_out(clone: Path) -> None:
    """With `git submodule deinit`, say."""
    (clone / "lib" / "l").write_text("mine")
    git(clone / "lib", "stash", "push", "--quiet", "--message", "mine")
    git(clone, "submodule", "--quiet", "deinit", "--force", "lib")

    (loss,) = await work_at_risk(clone)
    assert loss.startswith("in submodule lib, which is not checked out: stash ")


async def test_one_that_cannot_be_read_counts(clone: Path) -> None:
    """As a damaged clone does, however odd what lies there is."""
    git(clone, "switch", "--quiet", "without")
    (clone / ".git" / "modules" / "lib" / "HEAD").unlink()
    clone.joinpath(".git", "modules", *["deep"] * 200).mkdir(parents=True)

    found = await work_at_risk(clone)

    assert [loss for loss in found if "submodule lib, which is not checked out: cannot tell" in loss]
    assert [loss for loss in found if "deep/deep" in loss]


async def test_another_commit_of_one_is_a_change(clone: Path, library: Origin) -> None:
    """It is pushed, but that the project uses it now is written nowhere else."""
    newest = library.commit("l", "three", branch="newer")
    git(clone / "lib", "fetch", "--quiet", "origin", "newer:refs/remotes/origin/newer")
    git(clone / "lib", "checkout", "--quiet", newest)

    assert await work_at_risk(clone) == ("changed file lib",)


@pytest.mark.parametrize("way", ["gitdir", "folder"])
async def test_one_that_leads_out_of_the_clone_is_not_followed(clone: Path, tmp_path: Path, way: str) -> None:
    """What cannot be told counts as a loss, and elsewhere nothing is written, not even for a moment."""
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", str(other))
    before = (other / ".git").stat().st_mtime_ns
    if way == "gitdir":
        (clone / "lib" / ".git").write_text(f"gitdir: {other / '.git'}\n")
    else:
        shutil.rmtree(clone / "lib")
        (clone / "lib").symlink_to(other)

    found = await work_at_risk(clone)

    assert any("in submodule lib: cannot tell what would be lost" in loss and "leads out" in loss for loss in found)
    assert (other / ".git").stat().st_mtime_ns == before


async def test_settings_of_one_run_nothing(clone: Path, tmp_path: Path) -> None:
    """They are the agent's to write."""
    mark, evil = tmp_path / "mark", tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {mark}\n")
    evil.chmod(0o755)
    for config in (clone / ".git" / "config", clone / ".git" / "modules" / "lib" / "config"):
        text = f'[core]\n\tfsmonitor = {evil}\n[submodule "lib"]\n\tupdate = !{evil}\n\tignore = all\n'
        config.write_text(f"{config.read_text()}{text}[submodule]\n\trecurse\n")
    (clone / "lib" / "new").write_text("x")

    assert await work_at_risk(clone) == ("in submodule lib: untracked new",)
    await repo.checkout(clone, "without", world=git_world())
    assert not mark.exists()
