"""What the controller writes down: a fake engine in virtual time, and the real files of history."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.controller.events import ActionBegun
from reconciler.controller.historian import Historian
from reconciler.core.actions import Blocked, Retry
from reconciler.core.history import Author, HistoryRecord, Via
from reconciler.core.observed import Service
from reconciler.core.reasons import Reason
from reconciler.engines.base import Recorded
from reconciler.engines.local import actions as local
from reconciler.specs import writer
from reconciler.state import history_files, published
from reconciler.state.history import History
from reconciler.system import announcements
from tests.unit.test_controller import SETTLED, SPEC, Site, play, started

if TYPE_CHECKING:
    from pathlib import Path

STOPPED = f"state: stopped\n{SPEC}"
BOT = Author(Via.MCP, "bot", "opencode_stop")


class Chronicle(Site):
    """A controller that writes its history."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.history = History(self.home)
        self.historian = Historian(self.history, self.events, published.read(self.home).projects)

    def lines(self, after: int = 0, name: str = "app") -> list[HistoryRecord]:
        """What was written of a project."""
        self.history.flush()
        every = history_files.latest(self.home)
        return [one for one in every if one.index > after and one.project == name]


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Chronicle:
    return Chronicle(tmp_path)


def test_a_new_project_is_followed_from_its_spec_to_ready(site: Chronicle) -> None:
    """The spec with its author and what it says, each step with its cause, both services, and where that has led."""
    play(site, started(site))
    first, *steps, last = site.lines()

    assert (first.reason, first.message, first.author.via) == ("SpecAccepted", "accepted: a new project", Via.FILE)
    assert [change.text for change in first.changes] == ["git.url: (none) -> /srv/app.git"]
    assert first.author.name
    begun = [one for one in steps if one.reason == "StartService"]
    assert [(one.message, one.cause) for one in begun] == [
        ("start agent", "it never ran"),
        ("start bridge", "it never ran"),
    ]
    assert [one.message for one in steps if one.reason == "ServiceStarted"] == ["agent started", "bridge started"]
    assert (last.reason, last.message, last.type, last.generation) == ("Running", "ready", "Normal", 1)
    assert [one.index for one in site.lines()] == list(range(1, site.history.index + 1))


def test_an_action_is_written_down_before_it_is_performed(site: Chronicle) -> None:
    """In the same turn of the event loop: a controller that is killed by what it does has said what that was."""

    async def story() -> None:
        site.events.publish(ActionBegun("app", local.CloneRepo(cause="there is no clone yet"), 1))

        assert history_files.last_index(site.home) == site.history.index == 1

    play(site, story())


def test_a_tool_is_the_author_of_what_it_wrote(site: Chronicle) -> None:
    """And whoever saves the file by hand afterwards is not."""

    async def story() -> None:
        await started(site)
        writer.edit(site.specs, site.home, "app", {("state",): "stopped"}, BOT)
        await asyncio.sleep(SETTLED)
        writer.edit(site.specs, site.home, "app", {("state",): "stopped"}, BOT._replace(detail="again"))
        await asyncio.sleep(SETTLED)
        site.write("app")
        await asyncio.sleep(SETTLED)

    play(site, story())
    judged = [one for one in site.lines() if one.author.via is not Via.CONTROLLER]

    assert [(one.reason, one.author.text) for one in judged[1:3]] == [
        ("SpecAccepted", "bot (mcp opencode_stop)"),
        ("ReconcileRequested", "bot (mcp again)"),
    ]
    assert [change.text for change in judged[1].changes] == ["state: running -> stopped"]
    assert [one.author.via for one in judged] == [Via.FILE, Via.MCP, Via.MCP, Via.FILE]
    assert [one.generation for one in judged] == [1, 2, 2, 3]


def test_a_refused_spec_is_one_event_with_its_line(site: Chronicle) -> None:
    """The condition that follows says the same, and is no second event; what fixes it is accepted."""

    async def story() -> None:
        await started(site)
        site.write("app", "git:\n  url: x\nstat: running\n")
        await asyncio.sleep(SETTLED)
        site.write("app", f"# fixed\n{SPEC}")
        await asyncio.sleep(SETTLED)

    play(site, story())
    refused, fixed, ready = site.lines()[-3:]

    assert (refused.reason, refused.type, refused.author.via) == ("SpecInvalid", "Warning", Via.FILE)
    assert "app.yaml:3" in refused.message
    assert (fixed.reason, fixed.message) == ("SpecAccepted", "accepted: it says the same as before")
    assert ready.reason == "Running"


def test_a_spec_that_vanishes_and_returns_is_recorded(site: Chronicle) -> None:
    """With who may have done it."""

    async def story() -> None:
        await started(site, "app", "blog", "site")
        (site.specs / "app.yaml").unlink()
        announcements.announce(site.specs)
        await asyncio.sleep(site.settings.settle_open + SETTLED)
        site.write("app")
        await asyncio.sleep(SETTLED)

    play(site, story())
    vanished, returned = (one for one in site.lines() if one.reason in {"SpecVanished", "SpecReturned"})

    assert (vanished.type, vanished.author.via, bool(vanished.author.name)) == ("Warning", Via.FILE, True)
    assert (returned.type, returned.message) == ("Normal", "accepted: it says the same as before")


def test_an_exit_is_recorded_with_its_cause(site: Chronicle) -> None:
    """One that nobody asked for is a warning, and so is the crash loop."""

    async def story() -> None:
        await started(site)
        for _ in range(3):
            site.engine.exit("app", Service.AGENT, 3)
            await asyncio.sleep(SETTLED)

    play(site, story())
    ended = [one for one in site.lines() if one.reason == "ServiceEnded"]

    assert [(one.message, one.type, one.count) for one in ended[-1:]] == [("agent ended: exit code 3", "Warning", 3)]
    assert {one.type for one in site.lines() if one.reason == "CrashLoop"} == {"Warning"}


def test_an_exit_that_was_asked_for_is_no_warning(site: Chronicle) -> None:
    """A stop ends both, and then it is as desired."""

    async def story() -> None:
        await started(site)
        site.write("app", STOPPED)
        await asyncio.sleep(SETTLED)

    play(site, story())
    ended = [one for one in site.lines() if one.reason == "ServiceEnded"]

    assert {(one.type, one.cause) for one in ended} == {("Normal", "it was requested to end")}
    assert len(ended) == 2
    assert site.lines()[-1].reason == "Stopped"


@pytest.mark.parametrize(
    ("outcome", "says", "kind"),
    [
        (Blocked(Reason.WAITING_FOR_KEY, "add the key"), "stalled: add the key", "Warning"),
        (Retry(Reason.GIT_UNREACHABLE, "no answer"), "not ready: no answer", "Warning"),
    ],
)
def test_what_stands_in_the_way_is_recorded_once(site: Chronicle, outcome: Any, says: str, kind: str) -> None:
    """However often it is tried again."""
    site.engine.outcomes[local.CloneRepo] = [outcome] * 3

    async def story() -> None:
        site.write("app")
        await asyncio.sleep(60)

    play(site, story())
    found = [(one.message, one.type) for one in site.lines() if one.reason == outcome.reason]

    assert found == [(says, kind)]


def test_what_is_still_being_done_is_no_warning(site: Chronicle) -> None:
    """A project that waits for its turn is on its way."""

    async def story() -> None:
        await started(site)
        status = site.intake.projects["app"].status
        assert status is not None
        for reason in (Reason.WAITING_TO_START, Reason.CLONE_REPO, Reason.CLONE_REPO_FAILED):
            not_yet = replace(status, ready=replace(status.ready, status=False), reason=reason, message="")
            site.historian.pass_ended(not_yet)

    play(site, story())

    assert [(one.reason, one.message, one.type) for one in site.lines()[-3:]] == [
        ("WaitingToStart", "not ready", "Normal"),
        ("CloneRepo", "not ready", "Normal"),
        ("CloneRepoFailed", "not ready", "Warning"),
    ]


def test_a_destroyed_project_has_an_end(site: Chronicle) -> None:
    """And a new one of its name begins with nothing of it."""

    async def story() -> None:
        await started(site)
        site.write("app", f"state: absent\n{SPEC}")
        await asyncio.sleep(SETTLED)
        (site.specs / "app.yaml").unlink(missing_ok=True)
        announcements.announce(site.specs)
        await asyncio.sleep(60)
        await started(site)

    play(site, story())

    assert [one.message for one in site.lines() if one.reason == "Destroyed"][-1] == "nothing of it is left"
    assert [one.message for one in site.lines() if one.reason == "SpecAccepted"] == [
        "accepted: a new project",
        "accepted",
        "accepted: a new project",
    ]


def test_a_controller_that_finds_everything_as_it_left_it_tells_nothing(site: Chronicle, tmp_path: Path) -> None:
    """A thousand projects would fill the files at each restart; what happened meanwhile is recorded."""
    for name in ("app", "blog"):
        site.home.sandbox(name).run.mkdir(parents=True)  # where ledgers are kept
    play(site, started(site, "app", "blog"))
    site.historian.controller_stopped()
    second = Chronicle(tmp_path)
    second.engine.machines = site.engine.machines
    before = second.history.index

    async def story() -> None:
        second.engine.exit("blog", Service.BRIDGE, 7)  # before the controller has looked for the first time
        await asyncio.sleep(SETTLED)

    play(second, story())

    assert [one.reason for one in second.lines(before)] == []
    assert ("ServiceEnded", "bridge ended: exit code 7") in [
        (one.reason, one.message) for one in second.lines(before, "blog")
    ]


@pytest.mark.parametrize("status", [3, {}, {"ready": True, "stalled": [], "reason": "x"}])
def test_an_index_that_says_nothing_costs_one_event(site: Chronicle, status: Any) -> None:
    """What was published is only read to know what is no news."""
    Historian(site.history, site.events, {"app": status})
    play(site, started(site))

    assert "Running" in {one.reason for one in site.lines()}


@pytest.mark.parametrize(("author", "by"), [(None, "controller"), (BOT, "bot (mcp opencode_stop)")])
def test_others_may_have_something_recorded(site: Chronicle, author: Author | None, by: str) -> None:
    """As a need that was opened, or answered."""
    asked = Recorded(name="app", reason=Reason.WAITING_FOR_PERMISSION, message="rm -r", warning=True, author=author)
    site.events.publish(asked)
    site.events.publish(replace(asked, warning=False, cause="a need"))

    assert [(one.message, one.type, one.cause, one.author.text) for one in site.lines()] == [
        ("rm -r", "Warning", "", by),
        ("rm -r", "Normal", "a need", by),
    ]


def test_the_controller_tells_of_itself(site: Chronicle) -> None:
    """Its start, its end, and that it is another version."""
    site.historian.controller_started("2.0", before="", where="/specs")
    site.historian.controller_started("2.0", before="2.0", where="/specs")
    site.historian.controller_started("2.1", before="2.0", where="/specs")
    site.historian.controller_stopped()

    assert [one.reason for one in site.lines(name="")] == [
        *("ControllerStarted", "ControllerStarted", "ControllerStarted"),
        *("ControllerUpgraded", "ControllerStopped"),
    ]
    assert site.lines(name="")[3].message == "version 2.0 -> 2.1"
