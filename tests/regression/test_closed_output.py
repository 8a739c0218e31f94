"""Closed, full and deserted output: every command ends in order, and says so where anybody can hear it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.world import PATIENCE, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = (
    ("list", 0),
    ("status app", 0),
    ("logs app", 0),
    ("plan", 0),
    ("validate", 0),
    ("schema", 0),
    ("confirm-missing", 0),
    ("mcp-config --client claude-desktop", 0),
    ("secrets app --generate", 0),
    ("stop app", 2),
    ("run --once", 0),
    ("--version", 0),
    ("--help", 0),
    ("help run", 0),
    ("statsu", 64),
)
IDS = [line for line, _ in COMMANDS]


@pytest.fixture(name="quiet", scope="module")
def _quiet(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]) -> Iterator[World]:
    """A world with a stopped project that has printed something, and no controller."""
    with a_world(tmp_path_factory.mktemp("quiet"), ports) as world:
        world.light("app")
        world.run("run", "--once")
        world.run("stop", "app", code=None)
        world.run("run", "--once")
        world.home.log_file("app", "agent").write_text("a line\n")
        yield world


def shell(world: World, line: str, redirected: str, **environment: str) -> tuple[int, str]:
    """The exit code of a command, and what it said on stderr."""
    command = f"exec {' '.join(world.command())} {line} {redirected}"
    done = subprocess.run(
        ["bash", "-c", command],
        env=world.environment | environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(("line", "code"), COMMANDS, ids=IDS)
def test_a_closed_output_changes_no_exit_code(quiet: World, line: str, code: int) -> None:
    """Nothing is printed, and everything is done."""
    assert shell(quiet, line, ">&-")[0] == code


@pytest.mark.parametrize(
    ("line", "code"), [("logs app", 0), ("run --once", 0), ("destroy app", 1), ("--version", 0), ("statsu", 64)]
)
def test_nor_do_all_three_streams_closed(quiet: World, line: str, code: int) -> None:
    """As a daemon may start it; whoever must be asked cannot be."""
    assert shell(quiet, line, "<&- >&- 2>&-")[0] == code


@pytest.mark.parametrize(
    ("line", "unbuffered"),
    [*((line, "") for line in IDS if line not in {"run --once", "statsu"}), ("--version", "1"), ("--help", "1")],
)
def test_a_full_output_is_one_sentence_and_exit_code_one(quiet: World, line: str, unbuffered: str) -> None:
    """As long as there is something to print: also of the version and of help."""
    code, said = shell(quiet, line, ">/dev/full", PYTHONUNBUFFERED=unbuffered)

    assert code == 1
    assert said.splitlines()[-1] == "cannot go on writing: no space left on device; make room there, then try again"


@pytest.mark.parametrize("line", [line for line, code in COMMANDS if code == 0])
def test_a_reader_that_has_gone_is_no_error(quiet: World, line: str) -> None:
    """`head` has seen enough; nobody is told."""
    code, said = shell(quiet, line, "> >(exec true)")

    assert code == 0
    assert "cannot" not in said
