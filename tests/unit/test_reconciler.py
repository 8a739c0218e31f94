"""One pass over one project, with a fake engine: what a pass counts, keeps, and says it found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.controller.events import StatusChanged
from reconciler.controller.project import Desired, Project
from reconciler.controller.reconciler import ROUNDS, Reconciler
from reconciler.core import actions, restarts, status
from reconciler.core.actions import Blocked, Done, RequeueAfter, Retry
from reconciler.core.observed import Health, ObservedProject, Phase, Probe, Service
from reconciler.core.plan import RESYNC_BLOCKED, Plan
from reconciler.core.reasons import Reason
from reconciler.engines.base import Events
from reconciler.engines.local import actions as local
from reconciler.settings import Home, Settings
from reconciler.state.ledger import Ledgers
from tests.support import virtual_time
from tests.support.fake_engine import FakeEngine, FakeTombstones
from tests.unit.worlds import make_spec

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.core.status import ProjectStatus

NAME = "app"


class Desk:
    """A project, its reconciler, and the fake engine and clock below it."""

    def __init__(self, root: Path, **fields: Any) -> None:
        self.clock = 1000.0
        home = Home(root)
        self.ledgers = Ledgers(home)
        self.events = Events()
        self.engine = FakeEngine(self.ledgers, lambda: self.clock, self.events)
        self.tombstones = FakeTombstones()
        self.news: list[str] = []
        settings = Settings(home=home, specs=root, development=True)
        self.events.subscribe(StatusChanged, lambda event: self.news.append(event.status.reason))
        self.reconciler = Reconciler(self.engine, self.ledgers, self.tombstones, self.events, settings)
        self.project = Project(name=NAME)
        self.accept(**fields)

    def accept(self, **fields: Any) -> None:
        spec = make_spec(**fields)
        self.project.desired = Desired(spec=spec)
        self.ledgers.accept(NAME, spec)

    @property
    def status(self) -> ProjectStatus:
        assert self.project.status is not None
        return self.project.status

    def run(self) -> float:
        """One pass; seconds until the next one."""
        return virtual_time.run(self.reconciler.run(self.project)).after

    def done(self) -> list[str]:
        return [type(each.action).__name__ for each in self.engine.done]

    def fail(self, kind: type[actions.Action], outcome: actions.Outcome | Exception, times: int = 1) -> None:
        self.engine.outcomes[kind] = [outcome] * times

    def restarts(self, service: Service) -> int:
        ledger = self.ledgers.get(NAME)
        assert ledger is not None
        return ledger.restart(service).count


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_one_pass_goes_all_the_way(desk: Desk) -> None:
    """From nothing to ready, and then it waits for the next resync."""
    after = desk.run()

    assert desk.status.ready.status
    assert desk.project.attempt.observed_generation == 1
    assert after == RESYNC_BLOCKED
    assert desk.news[-1] == "Running"


def test_a_pass_over_what_is_as_desired_does_nothing(desk: Desk) -> None:
    """And says nothing new."""
    desk.run()
    before, news = desk.done(), list(desk.news)

    desk.run()

    assert desk.done() == before
    assert desk.news == news


@pytest.mark.parametrize(
    ("outcome", "stalled", "after"),
    [
        (Blocked(reason=Reason.WAITING_FOR_KEY, message="add the key"), True, RESYNC_BLOCKED),
        (RequeueAfter(after=7.0, reason=Reason.WAITING_TO_START, message="soon"), False, 7.0),
        (Retry(reason=Reason.GIT_UNREACHABLE, message="cannot reach it"), False, 1.0),
    ],
)
def test_each_outcome_says_who_acts_next(desk: Desk, outcome: actions.Outcome, stalled: bool, after: float) -> None:
    """A person, time, or a retry; nothing after the failed action is done."""
    desk.fail(local.CloneRepo, outcome)

    assert desk.run() == after
    assert desk.done()[-1] == "CloneRepo"
    assert desk.status.stalled.status is stalled
    assert desk.status.reason == getattr(outcome, "reason", "")


def test_a_wake_up_during_a_back_off_observes_and_does_not_act(desk: Desk) -> None:
    """What the failed attempt ended wakes the project, too."""
    desk.fail(local.CloneRepo, Retry(reason=Reason.GIT_UNREACHABLE, message="cannot reach it"))
    left = desk.run()
    desk.clock += left / 4

    assert desk.run() == pytest.approx(0.75 * left)
    assert desk.done().count("CloneRepo") == 1
    desk.clock += left
    desk.run()
    assert desk.done().count("CloneRepo") == 2


def test_a_person_who_asks_ends_the_back_off(desk: Desk) -> None:
    """And the next failure counts as the first."""
    desk.fail(local.CloneRepo, Retry(reason=Reason.GIT_UNREACHABLE, message="cannot reach it"), times=3)
    for _ in range(2):
        desk.clock += desk.run()
    desk.project.desired = replace(desk.project.desired, asked=True)

    assert desk.run() == 1.0
    assert desk.project.attempt.failures == 1


def test_what_changes_nothing_is_given_up_after_some_rounds(desk: Desk) -> None:
    """An action that says Done and is planned again and again."""
    desk.fail(local.GenerateKey, Done(), times=1000)

    desk.run()

    assert desk.done().count("GenerateKey") == ROUNDS
    assert desk.status.reason == "NotConverging"


def test_a_wedged_service_is_counted_once_before_it_is_stopped(desk: Desk) -> None:
    """Though the stop takes two tries."""
    desk.run()
    desk.engine.probe(NAME, Service.AGENT, Probe(health=Health.UNRESPONSIVE, misses=9, quiet_since=900.0, at=1000.0))
    desk.fail(actions.StopService, RequeueAfter(after=1.0, reason=Reason.STOPPING, message="still ending"))

    desk.run()
    assert desk.restarts(Service.AGENT) == 1
    desk.run()

    assert desk.restarts(Service.AGENT) == 1
    assert desk.status.ready.status


def test_a_start_that_never_gets_ready_counts_as_a_crash(desk: Desk) -> None:
    """The next start waits as after one."""
    desk.engine.of(NAME).never_ready.add(Service.AGENT)

    for _ in range(3):
        desk.clock += desk.run()

    assert desk.restarts(Service.AGENT) >= 2
    assert desk.engine.service(NAME, Service.AGENT).phase is Phase.EXITED


def test_progress_does_not_hide_what_a_person_has_to_do(desk: Desk) -> None:
    """A slow retry of what waits for a key still says so."""
    desk.fail(local.CloneRepo, Blocked(reason=Reason.WAITING_FOR_KEY, message="add the key"), times=2)
    desk.run()
    desk.news.clear()

    desk.run()

    assert desk.news == []
    assert desk.status.reason == "WaitingForKey"


def test_progress_of_a_step_that_is_over_changes_nothing(desk: Desk) -> None:
    """A thread of a cancelled step may still report it; of another project's it is not ours."""
    desk.run()
    during = list(desk.news)
    before = desk.status
    for name in (NAME, "another"):
        desk.events.progressed(name, Reason.CLONING, "cloning 42%")

    assert Reason.START_SERVICE in during
    assert (desk.news, desk.status) == (during, before)


def test_what_the_manager_changes_itself_is_no_edit(desk: Desk) -> None:
    """It made the sandbox and the clone: nobody asked for a pass by that."""
    desk.reconciler.edits.changed(NAME)
    desk.run()

    assert not desk.reconciler.edits.changed(NAME)
    desk.engine.edit(NAME)
    assert desk.reconciler.edits.changed(NAME)


def test_a_sandbox_made_right_after_a_destroy_is_left_alone(tmp_path: Path) -> None:
    """It belongs to another project of the same name, whose spec was not read yet."""
    desk = Desk(tmp_path, state="absent")
    desk.engine.of(NAME).prepared = True
    desk.tombstones.on_remove = lambda: setattr(desk.engine.of(NAME), "prepared", True)

    desk.run()

    assert desk.done() == ["MoveToTrash"]
    assert desk.engine.of(NAME).prepared
    attempt = desk.project.attempt
    assert (attempt.plan, attempt.facts, attempt.settled) == (Plan(), ObservedProject(name=NAME), True)


def test_a_tombstone_that_git_tracks_stays(tmp_path: Path) -> None:
    """It is a person's to remove, and status says so."""
    desk = Desk(tmp_path, state="absent")
    desk.tombstones.tracked = True

    desk.run()

    assert desk.tombstones.there
    assert desk.project.attempt.facts.spec_stays


def test_a_pass_that_raised_is_retried_by_the_same_back_off(desk: Desk) -> None:
    """Later each time, with jitter; a wake-up meanwhile does not act."""
    desk.fail(local.CloneRepo, OSError("odd"), times=9)
    waits = []
    for _ in range(5):
        with pytest.raises(OSError, match="odd"):
            desk.run()
        waits.append(desk.reconciler.failed(desk.project, "cannot observe app: odd").after)
        assert desk.run() == pytest.approx(waits[-1])
        desk.clock += waits[-1]

    assert desk.done().count("CloneRepo") == 5
    assert desk.status.reason == "ObserveFailed"
    expected = [max(restarts.BASE, restarts.delay(number, f"{NAME}{number}")) for number in range(5)]
    assert waits == expected


def test_a_probe_that_says_nothing_new_moves_only_its_time(desk: Desk) -> None:
    """The status is computed as ever; nothing is reported as changed."""
    desk.run()
    before, news = desk.status, list(desk.news)

    desk.reconciler.refresh(desk.project, Service.AGENT, Probe(health=Health.READY, at=1000.0, at_wall=77.0))

    assert desk.status.agent.last_health_check == 77.0
    assert status.timeless(desk.status) == status.timeless(before)
    assert desk.news == news
