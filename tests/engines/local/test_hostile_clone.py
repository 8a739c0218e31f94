"""A clone is its agent's: nothing there makes the manager wait, write elsewhere, or show what is elsewhere."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from reconciler.agents.base import Place
from reconciler.agents.opencode import own_writes, plugins
from reconciler.engines.local.git import repo
from reconciler.engines.local.git.cloning import MARK
from reconciler.engines.local.git.git import view
from reconciler.engines.local.git.unpushed_work import KNOWN_FILE
from tests.support.clones import git_world, work_at_risk
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
PATIENCE = 20.0
"""Seconds: only what waits for ever takes as long."""


@pytest.fixture(name="clone")
async def _clone(tmp_path: Path) -> Path:
    """A fresh one, as the manager makes it."""
    origin = Origin(tmp_path / "origin")
    origin.commit("a", "one")
    await repo.clone(str(origin.path), None, tmp_path / "repo", world=git_world())
    return tmp_path / "repo"


def in_time(work: Callable[[], T]) -> T:
    """Run it in a thread: should it wait at a pipe for ever, only this test fails."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it waits for ever"
    return found[0]


def pipe(path: Path) -> None:
    """A pipe in the place of a file; at its other end is nobody."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def test_a_pipe_for_the_mark_does_not_stop_the_controller(clone: Path) -> None:
    """The mark is read at each observation, in the loop that serves all projects."""
    pipe(clone / ".git" / MARK)

    assert "it is no clone made by the manager" in in_time(lambda: repo.repo_facts(clone)).problem


@pytest.mark.parametrize("size", [0, 2**40])
def test_a_mark_that_is_not_ours_is_none(clone: Path, size: int) -> None:
    """An empty one, and one that no memory could hold."""
    with (clone / ".git" / MARK).open("wb") as file:
        file.truncate(size)

    assert repo.repo_facts(clone).problem


def test_a_pipe_for_the_settings_is_no_moved_repository(clone: Path) -> None:
    """They are read at each observation once git.url has changed."""
    pipe(clone / ".git" / "config")

    assert not in_time(lambda: repo.moved_to(clone, "/elsewhere"))


@pytest.mark.parametrize("name", ["config", "HEAD", "index", KNOWN_FILE, "worktrees/x/gitdir"])
def test_a_pipe_in_the_git_folder_does_not_stop_a_destroy(clone: Path, name: str) -> None:
    """What cannot be read counts as a loss."""
    pipe(clone / ".git" / name)

    assert in_time(lambda: asyncio.run(work_at_risk(clone)))


def test_a_pipe_among_installed_modules_is_not_npms(clone: Path) -> None:
    """Whether OpenCode installed them is asked before a destroy."""
    modules = own_writes.MODULES
    pipe(clone / modules / ".package-lock.json")

    assert not in_time(lambda: own_writes.is_own(clone, f"{modules}/", None))


def test_a_pipe_for_the_log_of_an_agent_is_no_log(tmp_path: Path) -> None:
    """It is read while the agent gets ready."""
    place = Place(
        repo=tmp_path, home=tmp_path, xdg=tmp_path, port=1, secret="", environment={}, variables={}, user_config=False
    )
    pipe(plugins.log(place))

    assert in_time(lambda: plugins.doing(place, 0)) == ""


async def test_a_worktree_shows_nothing_of_another_file(clone: Path, tmp_path: Path) -> None:
    """What a destroy would lose is shown in chats: an agent could have the manager read a secret to it."""
    secret = tmp_path / ".env"
    secret.write_text("value-of-a-secret")
    (clone / ".git" / "worktrees" / "x").mkdir(parents=True)
    (clone / ".git" / "worktrees" / "x" / "gitdir").symlink_to(secret)
    (lost,) = await work_at_risk(clone)

    assert "worktree" in lost
    assert "value-of-a-secret" not in lost


@pytest.mark.parametrize("name", ["index", "HEAD", "config", "refs"])
async def test_links_of_a_quick_agent_lead_no_write_elsewhere(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It writes the content too: a key for ~/.ssh/authorized_keys, from within what confines it."""
    outside = tmp_path / "authorized_keys"
    outside.write_text("the user's")
    really = tempfile.mkdtemp

    def with_an_agent_that_watches(prefix: str, dir: Path) -> str:  # noqa: A002  the name of the real one
        place = really(prefix=prefix, dir=dir)
        (Path(place) / name).symlink_to(outside)
        return place

    monkeypatch.setattr(tempfile, "mkdtemp", with_an_agent_that_watches)
    await work_at_risk(clone)

    assert outside.read_text() == "the user's"
    assert not list((clone / ".git").glob("opencode-manager-view-*"))


async def test_a_folder_that_is_swapped_for_a_link_is_left_alone(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole place of the view, not only a file in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    really = tempfile.mkdtemp

    def with_an_agent_that_watches(prefix: str, dir: Path) -> str:  # noqa: A002  the name of the real one
        place = Path(really(prefix=prefix, dir=dir))
        place.rmdir()
        place.symlink_to(outside)
        return str(place)

    monkeypatch.setattr(tempfile, "mkdtemp", with_an_agent_that_watches)
    await work_at_risk(clone)

    assert not list(outside.iterdir())


async def test_a_git_folder_that_is_a_link_is_none(clone: Path, tmp_path: Path) -> None:
    """Else the manager would write where the link leads."""
    (clone / ".git").rename(tmp_path / "elsewhere")
    (clone / ".git").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError, match="is a link"):
        async with view(clone / ".git"):
            pass
    assert not list((tmp_path / "elsewhere").glob("opencode-manager-view-*"))


async def test_a_head_that_is_a_link_is_read_as_git_does(clone: Path) -> None:
    """As `core.preferSymlinkRefs` makes it."""
    branch = git(clone, "symbolic-ref", "HEAD")
    (clone / ".git" / "HEAD").unlink()
    (clone / ".git" / "HEAD").symlink_to(branch)
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "mine")

    assert [loss.partition(" on ")[2] for loss in await work_at_risk(clone)] == ["main: mine is not pushed"]
