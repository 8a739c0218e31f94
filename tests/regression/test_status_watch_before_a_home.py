"""`status --watch` may be the first thing that anybody does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.test_doors_cli import spawned, until_line

if TYPE_CHECKING:
    from tests.support.world import World


def test_a_watch_that_began_before_there_is_a_home_shows_what_comes(world: World) -> None:
    """No controller has ever run: it waits for one."""
    assert not world.home.root.exists()
    with spawned(world, "status", "--watch") as program:
        until_line(program, "There are no projects yet")
        world.light("app", state="stopped")
        world.start()

        until_line(program, "Stopped")
