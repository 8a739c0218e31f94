"""What many tests do with clones and refusals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import repo
from reconciler.engines.local.git.git import GitProblem
from tests.support.gitrepo import git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gitrepo import Origin


async def cloned(origin: Origin, dest: Path, ref: str | None = None) -> Path:
    await repo.clone(str(origin.path), ref, dest, ssh_command="")
    return dest


def head(clone: Path) -> str:
    """The branch, or the commit when it is detached."""
    return git(clone, "branch", "--show-current") or git(clone, "rev-parse", "HEAD")


async def refused(work: object) -> GitProblem:
    assert asyncio.iscoroutine(work)
    with pytest.raises(GitProblem) as caught:
        await work
    assert str(caught.value).startswith("cannot ")
    return caught.value
