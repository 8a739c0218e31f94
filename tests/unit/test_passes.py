"""Whether a project had its pass: at rest, waiting for a person, or for the time of the next try."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.controller import passes
from reconciler.controller.events import AllPassed
from reconciler.controller.project import Attempt, Desired, Project
from reconciler.core.actions import Retry
from reconciler.core.plan import Hold, Plan
from reconciler.core.reasons import Reason
from reconciler.core.status import Condition, Note, ProjectStatus, ServiceStatus
from reconciler.engines.local import actions as local
from tests.unit.test_controller import Site, play

if TYPE_CHECKING:
    from pathlib import Path


def project(*, ready: bool = False, stalled: bool = False, **fields: Any) -> Project:
    """One that was reconciled and is neither, unless said."""
    desired = Desired(version=fields.pop("version", ""), asked=fields.pop("asked", False))
    status = fields.pop("status", status_of(ready=ready, stalled=stalled))
    return Project(name="app", desired=desired, attempt=Attempt(**{"settled": True, **fields}), status=status)


def status_of(*, ready: bool, stalled: bool) -> ProjectStatus:
    return ProjectStatus(
        name="app",
        desired="running",
        actual="partial",
        ready=Condition(status=ready, reason=Reason.RUNNING),
        reconciling=Condition(status=False, reason=Reason.IDLE),
        stalled=Condition(status=stalled, reason=Reason.NOT_STALLED),
        reason=Reason.IDLE,
        message="",
        generation=1,
        observed_generation=1,
        agent=ServiceStatus(state="running"),
        bridge=ServiceStatus(state="running"),
    )


def held(reason: str) -> Plan:
    return Plan(hold=Hold(reason=Reason(reason), message="", after=1.0, stalled=False))


@pytest.mark.parametrize(
    ("one", "rests", "waits"),
    [
        (project(ready=True), True, False),
        (project(stalled=True), True, False),
        (project(ready=True, version="2", seen_version="1"), False, False),
        (project(status=None), False, False),
        (project(plan=held("CrashLoop")), False, True),
        (project(plan=held("Unresponsive")), False, True),
        (project(plan=held("Ending")), False, False),
        (project(plan=held("Observing")), False, False),
        (project(plan=held("CrashLoop"), note=Note(reason=Reason.STARTING)), False, False),
        (project(note=Note(reason=Reason.CLONING)), False, False),
        (project(note=Note(reason=Reason.GIT_UNREACHABLE), failures=1), False, True),
        (project(note=Note(reason=Reason.GIT_UNREACHABLE), failures=1, asked=True), False, False),
        (project(note=Note(reason=Reason.CLONING), failures=1, working=True), False, False),
        (project(status=None, failures=1), False, False),
    ],
)
def test_what_counts_as_a_pass_that_is_over(one: Project, *, rests: bool, waits: bool) -> None:
    """Never what is being done at this moment, nor what a person has just asked for."""
    assert (passes.at_rest(one), passes.backs_off(one)) == (rests, waits)


def test_the_publisher_says_when_every_project_had_its_pass(tmp_path: Path) -> None:
    """Of two, one cannot be cloned: as soon as that one backs off and the other is ready, and never before."""
    site, published = Site(tmp_path), list[dict[str, str]]()
    site.engine.outcomes[local.CloneRepo] = [Retry(reason=Reason.GIT_UNREACHABLE, message="cannot reach it")] * 20
    site.events.subscribe(AllPassed, lambda done: published.append({each.name: each.reason for each in done.statuses}))

    async def story() -> None:
        site.write("far")
        site.write("off", "state: stopped\ngit: {url: /srv/app.git}\n")
        await asyncio.sleep(30)

    play(site, story())

    assert published
    assert {tuple(sorted(each)) for each in published if each} == {("far", "off")}
    assert all(each["off"] == "Stopped" for each in published if each)
