"""`run --once` ends when every project had its pass, whatever stands in the way of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.world import World

NOT_SO = 2


def test_run_once_ends_although_a_repository_cannot_be_reached(world: World) -> None:
    """The others come up all the same, and the table says which does not."""
    world.light("app")
    world.light("far", git="{url: 'https://127.0.0.1:1/far.git'}")

    printed = world.run("run", "--once", code=NOT_SO)

    assert world.status("app")["ready"]["status"]
    table = printed[printed.index("PROJECT") :]
    assert any(line.startswith("far ") and "Unreachable" in line for line in table.splitlines())


def test_run_once_ends_although_an_agent_crashes_again_and_again(world: World) -> None:
    """It backs off, and nobody waits for the next try."""
    world.light("app", mode="die")

    printed = world.run("run", "--once", code=NOT_SO)

    assert "CrashLoop" in printed[printed.index("PROJECT") :]


def test_run_once_waits_for_what_is_really_starting(world: World) -> None:
    """A start is no back-off: exit code 0 says that it is ready."""
    world.light("app")
    world.light("off", state="stopped")

    world.run("run", "--once", code=0)

    assert [world.status(name)["reason"] for name in ("app", "off")] == ["Running", "Stopped"]
