"""What destroying a clone would lose: each sort of work, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import repo
from tests.support.clones import git_world, work_at_risk
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="origin")
def _origin(tmp_path: Path) -> Origin:
    """Two commits on main."""
    origin = Origin(tmp_path / "origin")
    origin.commit("a", "one")
    origin.commit("b", "two")
    return origin


@pytest.fixture(name="clone")
async def _clone(origin: Origin, tmp_path: Path) -> Path:
    """A fresh one, as the manager makes it."""
    await repo.clone(str(origin.path), None, tmp_path / "repo", world=git_world())
    return tmp_path / "repo"


def commit(clone: Path, subject: str) -> str:
    git(clone, "commit", "--quiet", "--allow-empty", "--message", subject)
    return git(clone, "rev-parse", "--short", "HEAD")


async def test_a_fresh_clone_loses_nothing(clone: Path) -> None:
    """Not even one that was looked at twice, with ignored files in it."""
    (clone / ".git" / "info").mkdir(exist_ok=True)
    (clone / ".git" / "info" / "exclude").write_text("node_modules\n")
    (clone / "node_modules").mkdir()
    (clone / "node_modules" / "x").write_text("x")

    assert await work_at_risk(clone) == await work_at_risk(clone) == ()


async def test_changed_staged_deleted_and_untracked_files(clone: Path) -> None:
    """Each with its name, printable."""
    (clone / "a").write_text("mine")
    (clone / "b").unlink()
    (clone / "staged").write_text("x")
    git(clone, "add", "staged")
    (clone / "dir").mkdir()
    (clone / "dir" / "new").write_text("x")
    (clone / "odd\x1b[2J\nname").write_text("x")

    assert await work_at_risk(clone) == (
        "changed file a",
        "changed file b",
        "changed file staged",
        "untracked dir/",
        "untracked odd name",
    )


async def test_files_hidden_from_git_status_are_found(clone: Path) -> None:
    """Git was told to look away; we do not."""
    git(clone, "update-index", "--assume-unchanged", "a")
    git(clone, "update-index", "--skip-worktree", "b")
    (clone / "a").write_text("mine")

    assert await work_at_risk(clone) == ("file a is hidden from git status", "file b is hidden from git status")


async def test_commits_on_any_branch_tag_or_detached_head(clone: Path) -> None:
    """Wherever they are, when no remote-tracking branch leads to them."""
    on_main = commit(clone, "on main")
    git(clone, "switch", "--quiet", "--create", "topic", "origin/main")
    on_topic = commit(clone, "on topic")
    git(clone, "switch", "--quiet", "--detach", "origin/main")
    on_tag = commit(clone, "on tag")
    git(clone, "tag", "keep")
    git(clone, "switch", "--quiet", "--detach", "origin/main")
    on_head = commit(clone, "on head")

    assert set(await work_at_risk(clone)) == {
        f"commit {on_main} on main: on main is not pushed",
        f"commit {on_topic} on topic: on topic is not pushed",
        f"commit {on_tag} on refs/tags/keep: on tag is not pushed",
        f"commit {on_head} on HEAD: on head is not pushed",
    }


async def test_commits_are_safe_once_they_are_pushed(clone: Path) -> None:
    """From then on they are on the remote."""
    commit(clone, "mine")
    before = await work_at_risk(clone)
    git(clone, "push", "--quiet", "origin", "main")

    assert len(before) == 1
    assert await work_at_risk(clone) == ()


async def test_what_came_from_the_remote_is_no_loss(origin: Origin, tmp_path: Path) -> None:
    """Tags of branches that are gone there, and a ref that is such a tag."""
    stray = origin.commit("c", "three", branch="gone")
    origin.tag("v1", stray)
    origin.tag("v2", stray, "annotated")
    git(origin.path, "update-ref", "-d", "refs/heads/gone")
    clone = tmp_path / "repo"

    await repo.clone(str(origin.path), "v2", clone, world=git_world())
    clean = await work_at_risk(clone)
    mine = commit(clone, "after it")

    assert clean == ()
    assert await work_at_risk(clone) == (f"commit {mine} on HEAD: after it is not pushed",)


async def test_stashes(clone: Path) -> None:
    """They are on no branch and in no file."""
    for text in ("one", "two"):
        (clone / "a").write_text(f"mine {text}")
        git(clone, "stash", "push", "--quiet", "--message", text)

    assert await work_at_risk(clone) == ("stash stash@{0}: On main: two", "stash stash@{1}: On main: one")


async def test_a_merge_in_progress(clone: Path) -> None:
    """Even when its result is in no file yet."""
    git(clone, "switch", "--quiet", "--create", "topic")
    commit(clone, "topic")
    git(clone, "push", "--quiet", "origin", "topic")
    git(clone, "switch", "--quiet", "main")
    git(clone, "merge", "--no-ff", "--no-commit", "topic")

    assert await work_at_risk(clone) == ("a merge is in progress",)


async def test_another_worktree(clone: Path, tmp_path: Path) -> None:
    """It lies elsewhere, and would be left without its repository."""
    git(clone, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "other"))

    assert await work_at_risk(clone) == (f"another worktree {tmp_path / 'other'} needs it",)


async def test_work_in_submodules(clone: Path, origin: Origin, tmp_path: Path) -> None:
    """Named with the submodule it is in."""
    library = Origin(tmp_path / "library")
    library.commit("l", "one")
    git(clone, "submodule", "--quiet", "add", str(library.path), "lib")
    git(clone, "commit", "--quiet", "--message", "with a library")
    git(clone, "push", "--quiet", "origin", "main")
    clean = await work_at_risk(clone)
    mine = commit(clone / "lib", "in it")
    (clone / "lib" / "new").write_text("x")

    assert clean == ()
    assert await work_at_risk(clone) == (
        "changed file lib",
        f"in submodule lib: commit {mine} on main: in it is not pushed",
        "in submodule lib: untracked new",
    )
    assert origin.path.exists()


async def test_a_repository_within_the_clone(clone: Path) -> None:
    """It is untracked work like any other."""
    git(clone, "init", "--quiet", "inner")
    (clone / "inner" / "x").write_text("x")

    assert await work_at_risk(clone) == ("untracked inner/",)


async def test_long_lists_are_counted(clone: Path) -> None:
    """A person reads a few names and a number."""
    for number in range(30):
        (clone / f"file{number:02}").write_text("x")
        commit(clone, f"commit {number}")

    found = await work_at_risk(clone)

    assert len(found) == 12
    assert found[5] == "and 25 more commits"
    assert found[11] == "and 25 more untracked files"


async def test_settings_of_the_clone_cannot_hide_work(clone: Path) -> None:
    """Excludes, another work tree, a hook folder: none of them is asked."""
    (clone / "new").write_text("x")
    everything = clone / "everything"
    everything.write_text("*\n")
    config = clone / ".git" / "config"
    config.write_text(f"{config.read_text()}[core]\n\texcludesFile = {everything}\n\tworktree = /\n\tbare = false\n")

    assert await work_at_risk(clone) == ("untracked everything", "untracked new")


@pytest.mark.parametrize("damage", ["HEAD", "index", "objects", "config", "commondir", "link"])
async def test_what_cannot_be_read_counts_as_a_loss(clone: Path, tmp_path: Path, damage: str) -> None:
    """A broken clone is never destroyed without asking."""
    git_folder = clone / ".git"
    match damage:
        case "HEAD" | "config":
            (git_folder / damage).unlink()
        case "index":
            (git_folder / "index").write_bytes(b"nonsense")
        case "objects":
            (git_folder / "objects").rename(tmp_path / "objects")
        case "commondir":
            (git_folder / "commondir").write_text(str(tmp_path))
        case _:
            git_folder.rename(tmp_path / "elsewhere")
            git_folder.symlink_to(tmp_path / "elsewhere")

    found = await work_at_risk(clone)

    assert len(found) == 1
    assert found[0].startswith("cannot tell what would be lost: ")


async def test_observing_changes_nothing(clone: Path) -> None:
    """Not even the times kept in the index."""
    (clone / "a").touch()
    before = {path: path.stat().st_mtime_ns for path in (clone / ".git").rglob("*")}

    assert await work_at_risk(clone) == ()

    assert {path: path.stat().st_mtime_ns for path in (clone / ".git").rglob("*")} == before


async def test_what_a_killed_look_left_is_removed_later(clone: Path) -> None:
    """Not at once: it may be another one's that still looks."""
    old, new = (clone / ".git" / f"opencode-manager-view-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (0, 0))

    assert await work_at_risk(clone) == ()

    assert (old.exists(), new.exists()) == (False, True)


async def test_a_repository_with_longer_names_is_read_too(tmp_path: Path) -> None:
    """Git's newer object format needs one setting, and gets only that."""
    git(tmp_path, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", "source")
    commit(tmp_path / "source", "first")
    await repo.clone(str(tmp_path / "source"), None, tmp_path / "repo", world=git_world())
    (tmp_path / "repo" / "new").write_text("x")

    assert await work_at_risk(tmp_path / "repo") == ("untracked new",)
