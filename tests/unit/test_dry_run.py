"""A plan without a controller, with a fake engine: what would be done, and that nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.controller.dry_run import UnknownProjectError, compute_plans
from reconciler.core.plan import Plan
from reconciler.specs import tombstones
from tests.support import virtual_time
from tests.unit.test_controller import Site, play, started

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.engines.base import Events
    from reconciler.state.ledger import Ledgers
    from tests.support.fake_engine import FakeEngine


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    """One in which three projects were started by a controller that has ended."""
    site = Site(tmp_path)
    for name in ("app", "blog", "site"):
        (site.home.sandbox(name).run).mkdir(parents=True)
    play(site, started(site, "app", "blog", "site"))
    return site


def plan(site: Site, *names: str) -> dict[str, Plan | str]:
    before = len(site.engine.done)

    def observing(_ledgers: Ledgers, _events: Events) -> FakeEngine:
        return site.engine

    plans = virtual_time.run(compute_plans(site.settings, list(names), observing))
    assert len(site.engine.done) == before
    return plans


def actions(planned: Plan | str) -> list[str]:
    assert isinstance(planned, Plan)
    return [type(each).__name__ for each in planned.actions]


def test_what_is_as_desired_needs_nothing(site: Site) -> None:
    assert plan(site) == {"app": Plan(), "blog": Plan(), "site": Plan()}


def test_a_broken_spec_is_a_sentence(site: Site) -> None:
    """And harms no other project's plan."""
    site.write("app", "git: [\n")
    plans = plan(site)

    assert "app.yaml:" in str(plans["app"])
    assert plans["blog"] == Plan()


def test_a_project_whose_spec_file_is_missing_would_be_stopped(site: Site) -> None:
    (site.specs / "app.yaml").unlink()

    assert actions(plan(site)["app"]) == ["StopService", "StopService"]


def test_of_most_specs_missing_at_once_none_would_be_stopped_until_it_is_confirmed(site: Site) -> None:
    """As the controller decides: it is the same function."""
    for name in ("app", "blog"):
        (site.specs / f"{name}.yaml").unlink()
    held = plan(site)["app"]
    assert isinstance(held, Plan)
    assert held.hold is not None
    assert held.hold.message.startswith("cannot find 2 of 3 spec files")
    assert held.actions == ()

    tombstones.confirm_missing(site.home, "app")
    tombstones.confirm_missing(site.home, "blog")
    assert actions(plan(site)["app"]) == ["StopService", "StopService"]


def test_a_name_that_nobody_knows_is_an_error(site: Site) -> None:
    with pytest.raises(UnknownProjectError) as caught:
        plan(site, "app", "nope")

    assert caught.value.name == "nope"


def test_a_file_of_another_tool_has_no_plan_unless_asked_for(site: Site) -> None:
    site.write("compose", "services: {web: {image: nginx}}\n")

    assert "compose" not in plan(site)
    assert "compose" in plan(site, "compose")
