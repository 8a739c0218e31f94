"""The controller killed as hard as can be while a project starts for the first time: only kills in time count."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.battery import SERVICES, Wanted, Witness, census, settle, uid

if TYPE_CHECKING:
    from tests.support.scoreboard import Score
    from tests.support.world import World

DICE = random.SystemRandom()


@pytest.mark.long
def test_the_controller_killed_at_random_instants_of_a_start(
    process_world: World, score: Score, confinement: str
) -> None:
    """Kill -9 of the controller at random instants of a first start."""
    world = process_world
    witness = Witness(world)
    world.start()
    span, before = min(undisturbed(world, f"undisturbed{turn}") for turn in range(3)), "undisturbed2"
    wanted = score.times(20 if confinement == "none" else 4, 200)
    for turn in wanted:  # one in each part of the span, so that every part of a start is hit
        for attempt in range(10):
            name, moment = f"app{turn}-{attempt}", span * (turn + DICE.random()) / len(wanted)
            in_time, seen = strike(world, witness, name, before, moment)
            for what in seen:
                score.violation(f"killed {moment:.3f} s after a start of {span:.3f} s began: {what}")
            before = name
            if in_time:
                score.tried()
                break
            span = moment  # starts take less than that by now
    score.expect(score.tries == len(wanted), f"only {score.tries} of {len(wanted)} kills came before the start's end")


def undisturbed(world: World, name: str) -> float:
    """Seconds that a first start takes."""
    began = time.monotonic()
    world.light(name)
    world.ready(name)
    return time.monotonic() - began


def strike(world: World, witness: Witness, name: str, before: str, moment: float) -> tuple[bool, list[str]]:
    """Kill the controller at this moment of a first start; whether it was in time, and what must never be seen.

    The next controller also destroys the project of the time before, so that ports are never scarce.
    """
    world.light(name)
    threading.Event().wait(moment)  # there is no event for a random instant
    world.kill()
    status = world.status(name)
    in_time = not (status and status["ready"]["status"])
    seen = witness.look()
    leaders = [one for one in census(world) if (one.role, one.project) == ("leader", name) and one.service]
    kept = {one.service: one.process.pid for one in leaders}
    gone = Wanted(state="gone", uid=uid(world, before))
    world.light(before, state="absent")
    world.start()
    wanted = Wanted(state="running", kept=kept, counters=dict.fromkeys(SERVICES, 0))
    return in_time, [*seen, *settle(world, witness, {name: wanted, before: gone})]
