"""Limits in a spec, with a real controller: what is reported of them, and what becomes of an agent that exceeds one.

Here by what the machine and the user of the tests allow: control groups as root, a watchdog as an ordinary user.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.limits import groups, means, probe
from reconciler.engines.local.limits.means import Ceilings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.world import Status, World

ASKED = Ceilings(memory=300 << 20, tasks=100)
HARD = all(by.hard for by in means.choose(ASKED, probe.find()).values())


@pytest.fixture(name="leaking")
def _leaking(world: World) -> Iterator[Path]:
    """Makes the agent leak once it exists; in the end no group is left."""
    file = world.root / "leak"
    yield file
    file.unlink(missing_ok=True)
    world.start()
    for name in ("app", "other"):
        if world.status(name):
            world.light(name, state="stopped")
            world.wait(name, lambda status: status["actual"] == "stopped" and status["desired"] == "stopped")
    left = [Path(place.folder, groups.name_of(world.home.root, "app")) for place in probe.find().groups.values()]
    assert [folder for folder in left if folder.exists()] == []


def limited(world: World, leaking: Path, memory: str, **more: object) -> None:
    limits = {"memory": memory, "tasks": 100, **more}
    world.light("app", f"leak={leaking}", limits=json.dumps(limits))


def is_limited(status: Status, memory: int) -> bool:
    return bool(status["ready"]["status"] and status["limits"] and status["limits"][0]["value"] == memory)


def test_a_leak_ends_one_agent_alone(world: World, leaking: Path) -> None:
    """A limit is changed without a restart; then the agent exceeds it, and nothing else ends: nobody's bridge or agent.

    How it ended says the limit, and it is not started again at once.
    """
    limited(world, leaking, "900MiB")
    world.light("other")
    world.start()
    before, other = world.ready("app"), world.ready("other")
    memory, tasks = before["limits"]
    assert (memory["value"], tasks["value"], memory["hard"], tasks["hard"]) == (900 << 20, 100, HARD, HARD)
    assert bool(before["warnings"]) != HARD
    assert (other["limits"], before["not_enforced"]) == ([], [])
    assert memory["enforced_by"] in world.run("status", "app")

    limited(world, leaking, "300MiB")
    changed = world.wait("app", lambda status: is_limited(status, 300 << 20))
    assert [changed[each]["pid"] for each in ("agent", "bridge")] == [
        before[each]["pid"] for each in ("agent", "bridge")
    ]

    leaking.touch()
    ended = world.wait("app", lambda status: status["agent"]["restarts"] == 1)
    assert ended["agent"]["last_exit"] == "signal 9 (out of memory at its limit of 300MiB)"
    assert (ended["reconciling"]["reason"], ended["actual"]) == ("CrashLoop", "partial")
    assert ended["bridge"]["pid"] == before["bridge"]["pid"]
    assert world.status("other")["agent"]["pid"] == other["agent"]["pid"]
    leaking.unlink()
    again = world.wait("app", lambda status: bool(status["ready"]["status"]))
    assert again["bridge"]["pid"] == before["bridge"]["pid"]


def test_required_limits_are_hard_or_nothing_starts(world: World, leaking: Path) -> None:
    """The reason says which limit and what to do."""
    limited(world, leaking, "900MiB", required=True)
    world.start()

    status = world.wait("app", lambda status: status["ready"]["status"] or status["stalled"]["status"])

    if HARD:
        assert status["reason"] == "Running"
        assert [limit["hard"] for limit in status["limits"]] == [True, True]
    else:
        assert status["reason"] == "LimitsUnavailable"
        assert status["message"].startswith("cannot enforce limits.memory, limits.tasks of app: ")
        assert status["agent"]["state"] == "stopped"
