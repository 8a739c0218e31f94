"""Whether git keeps a spec file: a tombstone that it keeps is a person's to remove. What is faked is named as fake."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from reconciler.specs.writer import tracked_by_git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    path = tmp_path / "specs"
    path.mkdir()
    return path


def put(path: Path, text: str = "git: {url: here}\n") -> Path:
    """A person's file."""
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "trouble",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        PermissionError(errno.EACCES, "Permission denied", "git"),
        subprocess.TimeoutExpired("git", 5),
        subprocess.SubprocessError("Exception occurred in preexec_fn."),
    ],
    ids=["files", "memory", "permission", "time", "fork"],
)
def test_a_git_that_cannot_be_run_leaves_it_tracked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """Only where there is no git, no git can hold the file. The trouble is faked: fork cannot be made to fail."""
    put(folder / "blog.yaml")

    def fail(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr(subprocess, "run", fail)

    assert tracked_by_git(folder, "blog")


@pytest.mark.parametrize(
    "script", ["exit 1", "exit 3", "echo 'xcrun: error: no developer tools' >&2; exit 1", "kill $$"]
)
def test_a_git_that_ends_oddly_leaves_it_tracked(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Whatever stands in its place on PATH."""
    put(folder / "blog.yaml")
    put(folder / "git", f"#!/bin/sh\n{script}\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    assert tracked_by_git(folder, "blog")


@pytest.mark.parametrize("dot_git", ["gitdir: /nowhere/worktrees/specs", None])
def test_a_damaged_repository_may_hold_the_file(folder: Path, dot_git: str | None) -> None:
    """A worktree whose repository was moved, and a repository that has lost its HEAD."""
    put(folder / "blog.yaml")
    if dot_git:
        put(folder / ".git", dot_git)
    else:
        git(folder, "init", "-q")
        git(folder, "add", "blog.yaml")
        (folder / ".git" / "HEAD").unlink()

    assert tracked_by_git(folder, "blog")


def git(folder: Path, *arguments: str) -> None:
    """Run git with no configuration but the repository's own."""
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def test_tracked_by_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a file that git keeps is tracked, and no program of the repository runs for the question."""
    put(folder / "blog.yaml")
    put(folder / "shop.yaml")
    assert not tracked_by_git(folder, "blog")
    git(folder, "init", "-q")
    git(folder, "add", "blog.yaml")
    monitor = put(folder / "monitor", "#!/bin/sh\ntouch ran\n")
    monitor.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(monitor))
    monkeypatch.setenv("GIT_DIR", "/nowhere")

    assert tracked_by_git(folder, "blog")
    assert not tracked_by_git(folder, "shop")
    assert not (folder / "ran").exists()
    assert not tracked_by_git(folder / "missing", "blog")
    monkeypatch.setenv("PATH", "/nowhere")
    assert not tracked_by_git(folder, "blog")


def test_what_git_cannot_tell_counts_as_tracked(folder: Path) -> None:
    """A repository that git refuses to read may well hold the file."""
    put(folder / "blog.yaml")
    git(folder, "init", "-q")
    put(folder / ".git" / "index", "garbage")

    assert tracked_by_git(folder, "blog")
