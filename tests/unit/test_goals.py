"""What `wait` waits for, judged by a status."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.api import goals
from reconciler.frontends.cli import flags
from reconciler.settings import UserError

RUNNING = {
    "ready": {"status": True},
    "reconciling": {"status": False},
    "stalled": {"status": False},
    "desired": "running",
    "actual": "running",
    "reason": "Running",
    "activity": {"state": "idle"},
}
WAITING = RUNNING | {"ready": {"status": False}, "stalled": {"status": True}, "reason": "WaitingForKey"}
STOPPED = RUNNING | {"desired": "stopped", "actual": "stopped", "reason": "Stopped"}


@pytest.mark.parametrize(
    ("goal", "status", "met"),
    [
        ("ready", RUNNING, True),
        ("ready", WAITING, False),
        ("ready", STOPPED, False),
        ("idle", RUNNING, True),
        ("idle", RUNNING | {"activity": {"state": "asleep"}}, True),
        ("idle", RUNNING | {"activity": {"state": "waiting"}}, False),
        ("idle", RUNNING | {"activity": {"state": "unknown"}}, False),
        ("idle", STOPPED, False),
        ("stopped", STOPPED, True),
        ("stopped", RUNNING | {"actual": "absent"}, True),
        ("stopped", RUNNING, False),
        ("condition=stalled", WAITING, True),
        ("condition=Stalled=false", WAITING, False),
        ("condition=Stalled=False", RUNNING, True),
        ("condition=waitingforkey", WAITING, True),
        ("condition=WaitingForKey", RUNNING, False),
        ("condition=Running=false", WAITING, True),
    ],
)
def test_a_goal_is_met_by_what_is_published(goal: str, status: dict[str, Any], *, met: bool) -> None:
    """A project whose spec says stopped is never ready, though it is as desired."""
    assert goals.parse(goal).met(status) is met


@pytest.mark.parametrize("text", ["", "redy", "condition", "condition=", "condition=Nothing", "condition=Ready=maybe"])
def test_what_is_no_goal_is_refused_with_those_there_are(text: str) -> None:
    """In one sentence."""
    with pytest.raises(UserError, match=r"cannot wait for .*: use "):
        goals.parse(text)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("0.5", 0.5), ("90s", 90), ("1h30m", 5400), ("1d", 86400)])
def test_a_time_may_have_units(text: str, seconds: float) -> None:
    """Seconds without."""
    assert flags.duration(text) == seconds
