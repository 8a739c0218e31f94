"""What a person sees of many projects: a table that stays one, sentences once, colours where they can be seen."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.frontends.cli import render, terminal
from reconciler.state import published
from tests.support.terminal import COLOUR, on_terminal
from tests.unit.test_render import NOW, project, stalled

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World

LONG = ("a-very-long-name-of-a-project-of-the-platform-team-backend-2", "a-very-long-name-of-a-project-of-x-frontend-2")
MADE = (
    "/home/me/.memory/opencode-sandboxes/{}/.env: was made in development mode; review it, then remove its first line"
)


def many() -> list[dict[str, Any]]:
    names = (*LONG, "blog", "shop", "x")
    return [
        *(project(name, warnings=(MADE.format(name),)) for name in names),
        stalled("far", f"cannot reach it: {'because of this and that, ' * 40}"),
    ]


def publish(world: World) -> None:
    """Let these projects be published, by a controller that ended (a fake one)."""
    world.home.root.mkdir(parents=True)
    identity = published.ControllerInfo(pid=1, specs=str(world.specs), http_port=0, started=0.0)
    published.Writer(world.home).write(identity, {each["name"]: each for each in many()})


@pytest.mark.parametrize("columns", [64, 80, 100, 120])
def test_a_table_stays_a_table_at_any_width(world: World, columns: int) -> None:
    """One line a project, whatever their names; sentences are wrapped, and cut where a command shows all of them."""
    publish(world)

    code, seen = on_terminal(world.command("list"), world.environment, columns)

    lines = COLOUR.sub("", seen).splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("PROJECT"))
    table = lines[head : head + 7]
    assert code == 2
    assert max(map(len, lines)) <= max(columns, len(MADE))
    assert max(map(len, table)) <= columns
    assert [line.split()[1] for line in table[1:]] == ["running"] * 6
    assert any("opencode-manager status far" in line for line in lines)


def test_what_is_to_be_said_of_everybody_is_said_once(world: World) -> None:
    """Each warning has its sentence; five projects that were made in development mode share one."""
    publish(world)

    seen = world.run("list", code=None)

    assert seen.count("was made in development mode") == 1
    assert "and 2 more: /home/me/.memory/opencode-sandboxes/NAME/.env" in " ".join(seen.split())
    assert MADE.format("blog") in " ".join(world.run("status", "blog", code=None).split())


def test_in_a_pipe_nothing_is_cut_and_nothing_is_coloured(world: World) -> None:
    """A program reads whole names, addresses and sentences."""
    publish(world)

    seen = world.run("list", code=None)

    assert "\x1b" not in seen
    assert all(f"{name}  " in seen for name in LONG)
    assert "http://127.0.0.1:4101" in seen
    assert "..." not in seen


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_shows_colours_unless_it_is_asked_not_to(
    world: World, variables: dict[str, str], *, coloured: bool
) -> None:
    """By the variables that others heed too."""
    publish(world)

    _, seen = on_terminal(world.command("list"), world.environment | variables)

    assert bool(COLOUR.search(seen)) == coloured


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
    ],
)
def test_colours_in_a_file_only_when_they_are_forced(
    tmp_path: Path, variables: dict[str, str], *, coloured: bool
) -> None:
    """As for a log of CI that shows them."""
    with tmp_path.joinpath("out").open("w") as out:
        assert terminal.colours(out, variables) == coloured


def test_colours_change_no_column() -> None:
    """They are no characters."""
    plain = render.render_table(many(), NOW, width=80)

    assert COLOUR.sub("", render.render_table(many(), NOW, width=80, paint=terminal.painted)) == plain


def test_json_and_yaml_are_the_same_on_a_terminal(world: World) -> None:
    """They are for programs, wherever they go."""
    publish(world)
    for output in ("json", "yaml"):
        command = world.command("list", "-o", output)
        piped = subprocess.run(command, env=world.environment, capture_output=True, text=True, check=False).stdout

        _, seen = on_terminal(command, world.environment | {"FORCE_COLOR": "1"})

        assert piped in seen


def test_who_starts_and_stops_a_project_sees_steps_and_what_comes_next(world: World) -> None:
    """Each step with its time; afterwards the commands that follow."""
    world.light("app", state="stopped")
    world.start()
    world.ready("app")

    _, started = on_terminal(world.command("start", "app"), world.environment)
    _, stopped = on_terminal(world.command("stop", "app"), world.environment)
    _, gone = on_terminal(world.command("destroy", "app", "--yes"), world.environment)

    assert "app: Starting: " in started
    assert "Next: opencode-manager mcp-config --client" in started
    assert "Start it again with: opencode-manager start app" in stopped
    assert str(world.home.trash) in gone
    assert "Next" not in world.run("list")


def test_an_error_is_wrapped_at_words(world: World) -> None:
    """On a terminal; a script gets one line."""
    publish(world)

    code, seen = on_terminal(world.command("stop", "nowhere"), world.environment, 64)

    sentence = world.run("stop", "nowhere", code=1)
    assert code == 1
    assert max(map(len, seen.splitlines())) <= 64
    assert seen.split() == sentence.split()
    assert sentence.count("\n") == 1
