"""A service that works at its start is not ended, however long it takes; one that does nothing is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from reconciler import restarts
from reconciler.facts import RestartRecord
from reconciler.local.start_progress import Work
from reconciler.plan import make_plan
from tests.pure.worlds import NOW, converged, exited, ledger, view

if TYPE_CHECKING:
    from tests.support.world import Status, World


def waited(status: Status) -> int:
    """Seconds that status says it has been waited for the agent."""
    found = re.search(r"waiting for the agent \(no answer in time\), (\d+) s", status["message"])
    return int(found[1]) if found else 0


def test_an_agent_that_works_and_answers_nobody_is_not_ended(world: World) -> None:
    """For many times the start limit, which counts from the last moment at which it worked."""
    world.environment["OPENCODE_MANAGER_START_TIMEOUT"] = "1"
    busy = world.root / "busy"
    busy.touch()
    world.light("app", f"busy={busy}")
    world.start()
    world.wait("app", lambda status: waited(status) >= 4)

    busy.unlink()

    assert world.ready("app")["agent"]["restarts"] == 0


@pytest.mark.parametrize(
    ("now", "works"),
    [
        (Work(10.1, 100_100, 50), False),  # as one that waits for a registry (measured)
        (Work(10.3, 104_000, 50), False),
        (Work(10.0, 100_000, 51), True),
        (Work(11.0, 100_000, 50), True),
        (Work(10.0, 200_000, 50), True),
        (Work(9.0, 100_000, 50), True),
        (Work(10.0, 90_000, 50), True),
    ],
)
def test_processor_time_bytes_and_lines_of_its_log_are_work(now: Work, works: bool) -> None:
    """Over ten seconds; less than before means that a part of it ended."""
    assert now.since(Work(10.0, 100_000, 50), 10.0) is works


def test_what_kept_an_agent_from_getting_ready_is_told_in_a_crash_loop_too() -> None:
    """And not only in the moment in which it was given up."""
    record = RestartRecord()
    for run in ("run-3", "run-2", "run-1"):
        record = restarts.never_ready(record, run, NOW, "the registry X does not answer")
    facts = converged(agent=exited(asked=True))

    hold = make_plan(view(facts=facts, ledger=ledger(restarts={"agent": record}))).hold

    assert hold is not None
    assert "after not getting ready (the registry X does not answer), 3 times in a row" in hold.message
