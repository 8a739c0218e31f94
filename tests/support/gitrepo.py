"""Real git repositories to clone from, made in a moment."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.invalid",
    "GIT_COMMITTER_NAME": "A Tester",
    "GIT_COMMITTER_EMAIL": "tester@example.invalid",
    "LC_ALL": "C.UTF-8",
}


def git(folder: Path, *arguments: str) -> str:
    """What git prints, run the way a person would in this folder, but with none of the person's settings."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **_ENVIRONMENT}
    argv = ["git", "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


class Origin:
    """A bare repository, and a work tree from which it is filled."""

    def __init__(self, folder: Path, name: str = "origin.git") -> None:
        """An empty one in this folder."""
        self.path = folder / name
        self.work = folder / f"{name}.work"
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.path))
        git(folder, "init", "--quiet", "--initial-branch=main", str(self.work))
        git(self.work, "remote", "add", "origin", str(self.path))

    def commit(self, file: str, text: str | bytes, *, branch: str = "main") -> str:
        """Put a commit that sets one file on a branch, new or old, and publish it; the commit's name."""
        current = git(self.work, "branch", "--show-current")
        if branch != current:
            known = git(self.work, "branch", "--list", branch)
            git(self.work, "switch", "--quiet", *([] if known else ["--create"]), branch)
        place = self.work / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
        git(self.work, "add", "--", file)
        git(self.work, "commit", "--quiet", "--message", f"set {file}")
        git(self.work, "push", "--quiet", "origin", branch)
        return git(self.work, "rev-parse", "HEAD")

    def tag(self, name: str, commit: str, message: str = "") -> None:
        """Publish a tag; an annotated one when it has a message."""
        git(self.work, "tag", *(["--annotate", "--message", message] if message else []), name, commit)
        git(self.work, "push", "--quiet", "origin", f"refs/tags/{name}")
