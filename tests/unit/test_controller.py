"""The controller with a fake engine in virtual time: when each project is reconciled, and what is kept.

The spec files, their watch, the ledgers and the published index are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from typing import TYPE_CHECKING, Any, Final

import pytest

from reconciler.controller.controller import Controller
from reconciler.controller.intake import Intake
from reconciler.controller.publisher import Publisher
from reconciler.core import restarts
from reconciler.core.actions import Retry
from reconciler.core.observed import Phase, Service
from reconciler.core.reasons import Reason
from reconciler.engines.base import Events, ProjectGone
from reconciler.engines.local import actions as local
from reconciler.settings import Home, Settings
from reconciler.specs import tombstones
from reconciler.specs.spec_folder import SpecFolder
from reconciler.state import published
from reconciler.state.ledger import Ledgers
from reconciler.system import announcements
from tests.support import virtual_time
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

SPEC: Final = "git: {url: /srv/app.git}\n"
SETTLED: Final = 1.0
"""Seconds by which a change of a spec was acted on, with room."""


class Site:
    """A controller of a folder of specs, and its fake engine."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root / "home")
        self.specs = root / "specs"
        self.specs.mkdir(exist_ok=True)
        self.home.controller.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(home=self.home, specs=self.specs, development=True)
        self.ledgers = Ledgers(self.home)
        self.events = Events()
        self.engine = FakeEngine(self.ledgers, lambda: asyncio.get_running_loop().time(), self.events)
        self.intake = Intake(self.settings, SpecFolder(self.settings), self.ledgers, self.events)
        publisher = Publisher(self.settings, self.intake, self._identity, self.events)
        self.controller = Controller(self.settings, self.ledgers, self.engine, self.events, self.intake, publisher)

    def _identity(self) -> published.ControllerInfo:
        warnings = self.intake.warnings
        return published.ControllerInfo(
            pid=os.getpid(), specs=str(self.specs), http_port=0, started=0.0, warnings=warnings
        )

    def write(self, name: str, text: str = SPEC) -> None:
        """Replace the file, as an editor does."""
        temporary = self.specs / f".{name}.swp"
        temporary.write_text(text)
        temporary.replace(self.specs / f"{name}.yaml")
        announcements.announce(self.specs)

    def done(self, name: str = "app") -> list[str]:
        """What was done for a project, in order."""
        return [type(each.action).__name__ for each in self.engine.done if each.name == name]

    def status(self, name: str = "app") -> dict[str, Any]:
        status = self.intake.projects[name].status
        return status.to_dict() if status else {}

    def index(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.home.state_file.read_bytes())
        return content


@contextlib.asynccontextmanager
async def reconciling(site: Site) -> AsyncIterator[Site]:
    """Run the controller's loop meanwhile."""
    stop = asyncio.Event()
    task = asyncio.create_task(site.controller.run(stop))
    try:
        yield site
    finally:
        stop.set()
        await task


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def play(site: Site, story: Coroutine[Any, Any, None]) -> None:
    async def main() -> None:
        async with reconciling(site):
            await story

    virtual_time.run(main())


async def started(site: Site, *names: str) -> None:
    for name in names or ("app",):
        site.write(name)
    await asyncio.sleep(SETTLED)
    for name in names or ("app",):
        assert site.status(name)["ready"]["status"], site.status(name)


def test_a_new_spec_is_acted_on_once_it_has_settled(site: Site) -> None:
    """No earlier: half of a spec is often a spec, too."""

    async def story() -> None:
        await asyncio.sleep(1)
        site.write("app")
        await asyncio.sleep(0.9 * site.settings.settle)
        assert site.done() == []
        await asyncio.sleep(0.2 * site.settings.settle)
        assert site.done()[-2:] == ["StartService", "StartService"]

    play(site, story())


def test_a_spec_that_does_not_end_with_a_newline_waits_for_its_rest(site: Site) -> None:
    """It may be half-written."""

    async def story() -> None:
        site.write("app", SPEC.rstrip())
        await asyncio.sleep(SETTLED)
        assert site.done() == []
        await asyncio.sleep(site.settings.settle_open)
        assert "StartService" in site.done()

    play(site, story())


def test_a_broken_spec_leaves_the_last_accepted_one_in_force(site: Site) -> None:
    """The condition says where; a crash meanwhile is restarted as before."""

    async def story() -> None:
        await started(site)
        site.write("app", "git: [\n")
        await asyncio.sleep(SETTLED)
        assert "app.yaml:" in site.status()["message"]
        assert site.status()["stalled"]["reason"] == "SpecInvalid"
        site.engine.exit("app", Service.AGENT, 1)
        await asyncio.sleep(SETTLED)
        assert site.engine.service("app", Service.AGENT).phase is Phase.RUNNING
        site.write("app")
        await asyncio.sleep(SETTLED)
        assert site.status()["ready"]["status"]

    play(site, story())


def test_a_missing_spec_stops_the_project_and_keeps_everything(site: Site) -> None:
    """After the time an editor may take to replace it."""

    async def story() -> None:
        await started(site, "app", "blog", "site")
        before = len(site.done())
        (site.specs / "app.yaml").unlink()
        announcements.announce(site.specs)
        await asyncio.sleep(0.9 * site.settings.settle_open)
        assert site.done()[before:] == []
        await asyncio.sleep(SETTLED)
        assert site.done()[before:] == ["StopService", "StopService"]
        assert site.engine.of("app").cloned_from
        assert site.done("blog").count("StopService") == 0

    play(site, story())


def test_when_most_specs_vanish_at_once_nothing_is_stopped_until_it_is_confirmed(site: Site) -> None:
    """A checkout of another branch looks like that."""

    async def story() -> None:
        await started(site, "app", "blog", "site")
        for name in ("app", "blog"):
            (site.specs / f"{name}.yaml").unlink()
        announcements.announce(site.specs)
        await asyncio.sleep(60)
        assert "StopService" not in site.done("app") + site.done("blog")
        assert site.status("app")["stalled"]["reason"] == "SpecMissing"
        tombstones.confirm_missing(site.home, "app")
        await asyncio.sleep(2 * site.settings.poll)
        assert "StopService" in site.done("app")
        assert "StopService" not in site.done("blog")

    play(site, story())


def test_a_failed_action_is_retried_later_each_time_up_to_a_cap(site: Site) -> None:
    """Twice as late, with jitter, at most about a minute."""

    async def story() -> None:
        site.engine.outcomes[local.CloneRepo] = [Retry(reason=Reason.GIT_UNREACHABLE, message="cannot reach it")] * 20
        site.write("app")
        await asyncio.sleep(400)
        times = [each.at for each in site.engine.done if isinstance(each.action, local.CloneRepo)]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        expected = [min(restarts.CAP, restarts.BASE * 2 ** max(0, number - 1)) for number in range(len(gaps))]
        assert len(gaps) >= 8
        assert all(0.8 * wait <= gap <= 1.2 * wait for gap, wait in zip(gaps, expected, strict=True)), gaps

    play(site, story())


def test_a_touched_spec_is_reconciled_now_whatever_the_back_off(site: Site) -> None:
    """A person has removed the cause and says so."""

    async def story() -> None:
        site.engine.outcomes[local.CloneRepo] = [Retry(reason=Reason.GIT_UNREACHABLE, message="cannot reach it")] * 7
        site.write("app")
        await asyncio.sleep(60)
        site.engine.outcomes.clear()
        os.utime(site.specs / "app.yaml")
        announcements.announce(site.specs)
        await asyncio.sleep(SETTLED)
        assert site.status()["ready"]["status"]

    play(site, story())


def test_a_slow_clone_delays_no_other_project(site: Site) -> None:
    """Not one more that is started later either."""

    async def story() -> None:
        site.engine.gates[local.CloneRepo] = asyncio.Event()
        site.write("app")
        await asyncio.sleep(SETTLED)
        gate = site.engine.gates.pop(local.CloneRepo)
        await started(site, "blog")
        assert site.status("app")["reconciling"]["status"]
        gate.set()
        await asyncio.sleep(SETTLED)
        assert site.status("app")["ready"]["status"]

    play(site, story())


def test_a_changed_spec_cancels_the_pass_that_works_towards_the_old_one(site: Site) -> None:
    """Nobody waits for a clone that is not wanted any more."""

    async def story() -> None:
        site.engine.gates[local.CloneRepo] = asyncio.Event()
        site.write("app")
        await asyncio.sleep(SETTLED)
        site.write("app", f"{SPEC}state: stopped\n")
        await asyncio.sleep(SETTLED)
        assert site.status()["ready"]["status"]
        assert site.done()[-1] == "CloneRepo"
        assert not site.engine.of("app").cloned_from

    play(site, story())


def test_an_unforeseen_error_of_one_project_harms_no_other(site: Site) -> None:
    """It is reported, and retried."""

    async def story() -> None:
        site.engine.outcomes[local.CloneRepo] = [ZeroDivisionError("unforeseen")]
        site.write("app")
        await started(site, "blog")
        assert "ZeroDivisionError" in site.status("app")["message"]
        await asyncio.sleep(5)
        assert site.status("app")["ready"]["status"]

    play(site, story())


def test_an_exit_is_acted_on_at_once(site: Site) -> None:
    """The first restart waits for nothing."""

    async def story() -> None:
        await started(site)
        site.engine.exit("app", Service.AGENT, 1)
        await asyncio.sleep(0.01)
        assert site.status()["agent"]["restarts"] == 1
        assert site.status()["ready"]["status"]

    play(site, story())


def test_a_lost_event_costs_one_resync(site: Site) -> None:
    """An exit of which nobody heard."""

    async def story() -> None:
        await started(site)
        site.engine.lose_events()
        site.engine.exit("app", Service.AGENT, 1)
        await asyncio.sleep(SETTLED)
        assert site.status()["agent"]["restarts"] == 0
        await asyncio.sleep(61)
        assert site.status()["agent"]["restarts"] == 1

    play(site, story())


def test_an_edit_beside_the_spec_is_acted_on(site: Site) -> None:
    """Though a back-off runs and no event told of it: the next resync finds it."""

    async def story() -> None:
        await started(site)
        site.engine.of("app").cloned_from = ""
        site.engine.edit("app")
        await asyncio.sleep(site.settings.resync + SETTLED)
        assert site.done().count("CloneRepo") == 2

    play(site, story())


def test_a_crash_loop_is_parked_and_never_given_up(site: Site) -> None:
    """Once it lives long enough, the next crash is the first again."""

    async def story() -> None:
        await started(site)
        for _ in range(9):
            site.engine.exit("app", Service.AGENT, 1)
            await asyncio.sleep(0.01)
            parked = dict(site.status())
            await asyncio.sleep(75)
            assert site.status()["ready"]["status"]
        assert parked["stalled"]["reason"] == "CrashLoop"
        await asyncio.sleep(400)
        site.engine.exit("app", Service.AGENT, 1)
        await asyncio.sleep(0.01)
        assert site.status()["ready"]["status"]

    play(site, story())


def test_a_port_that_another_project_gives_up_is_taken_at_once(site: Site) -> None:
    """No timer has to run out for it."""

    async def story() -> None:
        await started(site, "app", "blog")
        site.engine.of("app").strangers.add(Service.AGENT)
        site.engine.exit("app", Service.AGENT, 1)
        await asyncio.sleep(SETTLED)
        assert site.status()["reason"] == "PortTaken"
        site.engine.of("app").strangers.clear()
        site.engine.exit("blog", Service.AGENT, 1)  # something of another project ended: the port may be free
        await asyncio.sleep(0.01)
        assert site.status()["ready"]["status"]

    play(site, story())


def test_of_a_destroyed_project_nothing_is_left(site: Site) -> None:
    """Not its spec, not its ledger, no name in the index; all who keep something by its name hear of it."""
    gone: list[ProjectGone] = []
    site.events.subscribe(ProjectGone, gone.append)

    async def story() -> None:
        await started(site, "app", "blog")
        site.write("app", f"{SPEC}state: absent\n")
        await asyncio.sleep(SETTLED)
        assert site.done()[-3:] == ["StopService", "StopService", "MoveToTrash"]
        assert not (site.specs / "app.yaml").exists()
        await asyncio.sleep(SETTLED)
        assert set(site.intake.projects) == {"blog"}
        assert gone == [ProjectGone("app")]
        assert set(site.index()["projects"]) == {"blog"}

    play(site, story())


def test_unpushed_work_blocks_a_destroy_until_it_is_pushed(site: Site) -> None:
    """Then it goes on by itself, within a minute."""

    async def story() -> None:
        await started(site)
        site.engine.of("app").unpushed = True
        site.write("app", f"{SPEC}state: absent\n")
        await asyncio.sleep(30)
        assert "MoveToTrash" not in site.done()
        assert site.status()["reason"] == "DestroyBlocked"
        site.engine.of("app").unpushed = False
        await asyncio.sleep(61)
        assert "app" not in site.intake.projects

    play(site, story())


def test_what_is_published_is_what_was_seen_last(site: Site) -> None:
    """The index follows within the time in which changes are gathered."""

    async def story() -> None:
        await started(site)
        assert site.index()["projects"]["app"]["ready"]["status"]
        site.write("app", f"{SPEC}state: stopped\n")
        await asyncio.sleep(SETTLED)
        status = site.index()["projects"]["app"]
        assert (status["desired"], status["actual"], status["ready"]["status"]) == ("stopped", "stopped", True)

    play(site, story())
