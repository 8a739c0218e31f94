"""Passes over one project with an engine that is a fake, for moments that are rarely hit with the real one.

With that they run everywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.actions import Action, Done, MoveToTrash, Outcome
from reconciler.facts import Ledger, Now, ProjectFacts
from reconciler.ledger import Ledgers
from reconciler.plan import Plan
from reconciler.reconcile import Project, Reconciler
from reconciler.settings import Home, Settings
from tests.pure.worlds import NOW, make_spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.engine import Report
    from reconciler.spec import Spec


class Rebuilt:
    """A fake engine and tombstone: as soon as a destroyed project's spec is gone, somebody makes its sandbox anew."""

    def __init__(self) -> None:
        self.sandbox = self.spec = True
        self.done: list[type[Action]] = []

    def now(self) -> Now:
        return NOW

    async def observe(self, name: str, _spec: Spec, _ledger: Ledger) -> ProjectFacts:
        return ProjectFacts(name=name, sandbox=self.sandbox)

    async def perform(self, _name: str, _spec: Spec, action: Action, _report: Report) -> Outcome:
        self.done.append(type(action))
        self.sandbox = False
        return Done()

    def fingerprint(self, _name: str) -> object:
        return self.sandbox

    async def watch(self, hint: Callable[[], None]) -> None:
        hint()

    def describe(self, name: str) -> str:
        return name

    def tidy(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""

    def look(self, _name: str) -> tuple[bool, bool]:
        return self.spec, True

    def remove(self, _name: str) -> None:
        self.spec, self.sandbox = False, True


async def test_a_sandbox_that_is_made_right_after_a_destroy_is_left_alone(tmp_path: Path) -> None:
    """It is of another project of the same name, whose spec was not read yet."""
    world, settings = Rebuilt(), Settings(home=Home(tmp_path / "home"), specs=tmp_path)
    reconciler = Reconciler(world, Ledgers(settings.home), world, lambda _project, _news: None, settings)
    project = Project(name="app", spec=make_spec(state="absent"))

    await reconciler.run(project)

    assert world.done == [MoveToTrash]
    assert world.sandbox
    assert (project.plan, project.facts.sandbox, project.settled) == (Plan(), False, True)
