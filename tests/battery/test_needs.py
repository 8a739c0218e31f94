"""A thousand needs, two people who answer each at once, and a controller that is killed again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import storm
from tests.support.asking import Asking
from tests.support.storm import Storm

if TYPE_CHECKING:
    from tests.support.world import World

pytestmark = [pytest.mark.long, pytest.mark.lane]


def test_none_of_a_thousand_needs_is_lost_or_answered_twice(world: World, pytestconfig: pytest.Config) -> None:
    """What the agent accepted is what one of the two was told, and the other heard whose it was."""
    asking = Asking(world)
    world.start()
    world.ready("app")
    count, kills = (1000, 60) if pytestconfig.getoption("--full") else (100, 8)
    found = Storm(asking, count=count, kills=kills, seed=18)

    found.run()

    storm.check(found)
