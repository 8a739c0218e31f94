"""What many tests do with clones and refusals."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import repo
from reconciler.engines.local.git.git import GitProblem
from reconciler.engines.local.git.git_world import GitWorld
from reconciler.engines.local.world import world
from tests.support.gitrepo import git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gitrepo import Origin


def git_world(ssh_command: str = "") -> GitWorld:
    """A world with the settings and the home of whoever runs the tests; what a project is given is tested by itself."""
    names = ("HOME", "XDG_CONFIG_HOME", "TMPDIR", *world.PASSED_ON, *world.PROXIES, *world.AUTHORITIES)
    known = world.inherited(os.environ, names)
    return GitWorld(environment=known | ({"GIT_SSH_COMMAND": ssh_command} if ssh_command else {}))


async def work_at_risk(clone: Path) -> tuple[str, ...]:
    """What of this clone exists nowhere else."""
    return await repo.work_at_risk(clone, git_world())


async def cloned(origin: Origin, dest: Path, ref: str | None = None) -> Path:
    await repo.clone(str(origin.path), ref, dest, world=git_world())
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
