"""A service that works at its start is not ended, however long it takes; one that does nothing is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reconciler.core import restarts
from reconciler.core.observed import RestartRecord
from reconciler.core.plan import make_plan
from tests.unit.worlds import NOW, converged, exited, ledger, view

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


def test_what_kept_an_agent_from_getting_ready_is_reported_in_a_crash_loop_too() -> None:
    """And not only in the moment in which it was given up."""
    record = RestartRecord()
    for run in ("run-3", "run-2", "run-1"):
        record = restarts.never_ready(record, run, NOW, "the registry X does not answer")
    facts = converged(agent=exited(asked=True))

    hold = make_plan(view(facts=facts, ledger=ledger(restarts={"agent": record}))).hold

    assert hold is not None
    assert "after not getting ready (the registry X does not answer), 3 times in a row" in hold.message
