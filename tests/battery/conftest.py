"""Rows about processes run twice: once as they are, and once with every service within bubblewrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bubblewrap import bubblewrap_or_skip
from tests.support.scoreboard import FREE, WITHIN

if TYPE_CHECKING:
    from tests.support.world import World


@pytest.fixture(
    name="confinement",
    scope="module",  # not wider, or rows of other modules would come between those that share a world
    params=[pytest.param("none", id=FREE), pytest.param("bubblewrap", id=WITHIN, marks=pytest.mark.lane)],
)
def _confinement(request: pytest.FixtureRequest) -> str:
    """How services are confined: each in turn."""
    if request.param == "bubblewrap":
        bubblewrap_or_skip()
    return str(request.param)


@pytest.fixture(name="process_world")
def _process_world(world: World, confinement: str) -> World:
    """A world for a row about processes, which runs free and within bubblewrap."""
    world.confine(confinement)
    return world
