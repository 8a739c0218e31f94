"""Whether a project had its pass: at rest, waiting for a person, or for the time of the next try."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler import passes
from reconciler.plan import Hold, Plan
from reconciler.reconcile import Project
from reconciler.status import Note


def project(*, ready: bool = False, stalled: bool = False, **fields: Any) -> Project:
    """One that was reconciled and is neither, unless said."""
    published = {"ready": {"status": ready}, "stalled": {"status": stalled}}
    return Project(**{"name": "app", "published": published, "asked": False, "settled": True, **fields})


def held(reason: str) -> Plan:
    return Plan(hold=Hold(reason=reason, message="", after=1.0, stalled=False))


@pytest.mark.parametrize(
    ("one", "rests", "waits"),
    [
        (project(ready=True), True, False),
        (project(stalled=True), True, False),
        (project(ready=True, version="2", seen_version="1"), False, False),
        (project(published={}), False, False),
        (project(plan=held("CrashLoop")), False, True),
        (project(plan=held("Unresponsive")), False, True),
        (project(plan=held("Ending")), False, False),
        (project(plan=held("Looking")), False, False),
        (project(plan=held("CrashLoop"), note=Note(reason="Starting")), False, False),
        (project(note=Note(reason="Cloning")), False, False),
        (project(note=Note(reason="GitUnreachable"), failures=1), False, True),
        (project(note=Note(reason="GitUnreachable"), failures=1, asked=True), False, False),
        (project(note=Note(reason="Cloning"), failures=1, working=True), False, False),
        (project(published={}, failures=1), False, False),
    ],
)
def test_what_counts_as_a_pass_that_is_over(one: Project, *, rests: bool, waits: bool) -> None:
    """Never what is being done at this moment, nor what a person has just asked for."""
    assert (passes.at_rest(one), passes.backs_off(one)) == (rests, waits)
