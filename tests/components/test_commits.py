"""Who committed a spec, from a real git repository."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from reconciler.core.history import Author, Via
from reconciler.specs.commits import CommitAuthors

if TYPE_CHECKING:
    from pathlib import Path


def git(folder: Path, *arguments: str, who: str = "Ada Lovelace") -> str:
    """Run git as somebody."""
    identity = ("-c", f"user.name={who}", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, file: str, text: str, *, who: str) -> Author:
    """Commit a text; return the author that is to be found."""
    folder.joinpath(file).write_text(text)
    git(folder, "add", file)
    git(folder, "commit", "-qm", "a change", who=who)
    return Author(Via.GIT, who, git(folder, "rev-parse", "--short", "HEAD"))


@pytest.fixture(name="specs", params=["sha1", "sha256"])
def _specs(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    git(tmp_path, "init", "-q", f"--object-format={request.param}")
    specs = tmp_path / "teams" / "web"
    specs.mkdir(parents=True)
    return specs


def test_each_committed_text_has_its_author(specs: Path) -> None:
    """The one who changed it last; of a text that is not committed nobody knows."""
    commit(specs, "a.yaml", "one\n", who="Ada Lovelace")
    bob = commit(specs, "b.yaml", "two\n", who="Bob")
    ada = commit(specs, "a.yaml", "three\n", who="Zoë Äther")
    commit(specs.parent, "c.yaml", "elsewhere\n", who="Carol")
    found = CommitAuthors(specs)

    assert found.author("a.yaml", b"three\n") == ada
    assert found.author("b.yaml", b"two\n") == bob
    assert found.author("a.yaml", b"by hand\n") is None
    assert found.author("c.yaml", b"elsewhere\n") is None


def test_another_commit_is_seen_at_the_next_look(specs: Path) -> None:
    """As after a pull."""
    found = CommitAuthors(specs)
    assert found.author("a.yaml", b"one\n") is None
    ada = commit(specs, "a.yaml", "one\n", who="Ada Lovelace")
    found.expire()

    assert found.author("a.yaml", b"one\n") == ada


def test_nothing_in_the_repository_runs_a_program(specs: Path, tmp_path: Path) -> None:
    """Neither a filter, nor a monitor, nor a pager of its configuration."""
    commit(specs, "a.yaml", "one\n", who="Ada Lovelace")
    for key in ("core.fsmonitor", "core.pager", "filter.x.clean", "diff.external", "gpg.program"):
        git(specs, "config", key, f"touch {tmp_path}/ran")
    specs.joinpath(".gitattributes").write_text("* filter=x diff=x\n")
    found = CommitAuthors(specs)

    assert found.author("a.yaml", b"one\n") is not None
    assert not tmp_path.joinpath("ran").exists()


def test_a_folder_without_a_repository_or_commit_knows_nobody(tmp_path: Path) -> None:
    """And starts no program where there is no repository."""
    assert CommitAuthors(tmp_path).author("a.yaml", b"one\n") is None
    git(tmp_path, "init", "-q")
    assert CommitAuthors(tmp_path).author("a.yaml", b"one\n") is None
