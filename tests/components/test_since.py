"""Since when something is so outlives controllers, however early they are killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.core.activity import AgentActivity, Doing
from reconciler.core.status import Remembered
from reconciler.settings import Home
from reconciler.state import published
from reconciler.state.published import ControllerInfo
from reconciler.state.since import NAME, Since
from tests.unit.test_notices import NEED, status

if TYPE_CHECKING:
    from pathlib import Path

IDLE = AgentActivity(state=Doing.IDLE, since=50.0)
UNKNOWN = AgentActivity(state=Doing.UNKNOWN, since=90.0)
ABOUT = ControllerInfo(pid=1, specs="/", http_port=0, started=1.0)
KNOWN = status(activity=IDLE, needs=(NEED,))
NAMED = KNOWN.name


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.controller.mkdir(parents=True)
    return home


def kept(home: Home) -> Remembered:
    return Since(home).earlier.get(NAMED, Remembered())


def test_a_controller_that_knew_nothing_yet_takes_nothing_away(home: Home) -> None:
    """Two of them, one after the other, and each has published that."""
    first = Since(home)
    assert first.keep(KNOWN)
    first.flush()
    for _ in range(2):
        early = Since(home)
        early.keep(status(activity=UNKNOWN))
        published.Writer(home).write(ABOUT, {NAMED: status(activity=UNKNOWN).to_dict()})
        early.flush()

    assert kept(home) == Remembered(activity=IDLE, needs={NEED.id: NEED.since})


def test_what_is_over_is_forgotten_once_the_agent_was_asked(home: Home) -> None:
    """And everything, with the project; what is as it was is not written again."""
    since = Since(home)
    since.keep(KNOWN)
    since.flush()
    again = Since(home)
    assert not again.keep(KNOWN)
    assert again.keep(status(activity=IDLE))
    again.flush()
    assert kept(home) == Remembered(activity=IDLE)
    assert again.forget(NAMED)
    again.flush()
    assert (home.controller / NAME).read_text() == "{}"


def test_the_index_counts_where_nothing_is_kept_or_it_is_later(home: Home) -> None:
    """As of an earlier version, or of a controller that was killed before it wrote; a broken file is none."""
    published.Writer(home).write(ABOUT, {NAMED: KNOWN.to_dict()})
    assert kept(home).activity == IDLE
    since = Since(home)
    since.keep(status(activity=AgentActivity(state=Doing.WORKING, since=20.0)))
    since.flush()
    assert kept(home) == Remembered(activity=IDLE, needs={NEED.id: NEED.since})
    (home.controller / NAME).write_text('{"' + NAMED + '": 3}')
    assert kept(home).activity == IDLE
