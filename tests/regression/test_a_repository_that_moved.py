"""A repository that is at another url now: a person says so in the clone, and the project goes on without a destroy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.core.plan import make_plan
from reconciler.engines.local.facts import details
from reconciler.engines.local.git import repo
from tests.support.clones import cloned, git_world, head
from tests.support.gitrepo import Origin, git
from tests.unit.worlds import URL, changed, converged, view

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World


def test_the_way_on_is_said() -> None:
    """As a command that can be pasted."""
    facts = converged()
    hold = make_plan(view(facts=changed(facts, repo=replace(details(facts).repo, url="git@example.org:old.git")))).hold

    assert hold is not None
    assert f"git remote set-url origin {URL}" in hold.message


def test_what_was_moved_is_as_wanted() -> None:
    """Nothing is held and nothing is done."""
    facts = converged()
    moved = replace(details(facts).repo, url="git@example.org:old.git", moved=True)

    assert make_plan(view(facts=changed(facts, repo=moved))) == make_plan(view(facts=facts))


async def test_the_clones_own_origin_says_it(tmp_path: Path) -> None:
    """Set as a person or an agent sets it; from then on refs come from there."""
    origin = Origin(tmp_path / "old")
    origin.commit("a", "one")
    clone = await cloned(origin, tmp_path / "sb" / "repo")
    new = tmp_path / "new place" / "origin.git"
    origin.path.parent.rename(new.parent)
    before = repo.moved_to(clone, str(new))
    git(clone, "remote", "set-url", "origin", str(new))
    git(new, "branch", "later", "main")

    await repo.checkout(clone, "later", world=git_world(), source=str(new))

    assert (before, repo.moved_to(clone, str(new))) == (False, True)
    assert head(clone) == "later"


def test_the_agent_lives_on(world: World) -> None:
    """From the edit of the spec to the end."""
    world.light("app")
    world.start()
    before = world.wait("app", lambda status: status["reason"] == "Running")
    new = world.origin.with_name("moved")
    git(world.origin.parent, "clone", "--quiet", "--bare", str(world.origin), str(new))
    world.write("app", f"git: {{url: {new}}}\n")
    held = world.wait("app", lambda status: status["reason"] == "GitUrlChanged")
    git(world.home.sandbox("app").repo, "remote", "set-url", "origin", str(new))
    world.write("app", f"git: {{url: {new}, ref: main}}\n")
    after = world.wait("app", lambda status: status["reason"] == "Running" and status["git_ref"] == "main")

    assert f"git remote set-url origin {new}" in held["message"]
    assert (after["git_url"], after["agent"]["pid"]) == (str(new), before["agent"]["pid"])


@pytest.mark.parametrize(
    "text", ["", '[remote "other"]\n\turl = X\n', '[remote "origin"]\n\tfetch = +a:b\n[x]\n\turl = X\n']
)
def test_another_setting_does_not_say_it(tmp_path: Path, text: str) -> None:
    """Nor does one that is not there."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text(text)

    assert not repo.moved_to(tmp_path, "X")
