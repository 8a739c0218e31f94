"""What a person sees while waiting, and of several answers."""

from __future__ import annotations

import io
import os

import pytest

from reconciler.api.results import ProjectResult
from reconciler.frontends.cli import render, requests
from reconciler.frontends.cli.terminal import painted


class Terminal(io.StringIO):
    """A terminal of 40 columns, which keeps what was written (a fake one)."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


@pytest.fixture(name="terminal")
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((40, 24)))
    monkeypatch.setattr(Terminal, "fileno", lambda _: 1)
    return Terminal()


def test_a_script_reads_one_line_for_each_step() -> None:
    """None is repeated, and none has a clock."""
    out = io.StringIO()
    steps = requests.Steps(out)

    for name, step in (("a", "Cloning: 10 %"), ("a", "Cloning: 10 %"), ("b", "Starting"), ("a", "Ready"), ("a", "")):
        steps.show(name, step, 3.0)
    steps.close()

    assert out.getvalue() == "a: Cloning: 10 %\nb: Starting\na: Ready\n"


def test_a_person_sees_the_clock_go_in_one_line(terminal: Terminal) -> None:
    """Another step begins another line."""
    steps = requests.Steps(terminal)

    steps.show("app", "Starting", 1.0)
    steps.show("app", "Starting", 2.0)
    steps.show("app", "Ready", 3.0)
    steps.close()
    steps.close()

    assert terminal.getvalue() == ("\r\033[Kapp: Starting (1s)\r\033[Kapp: Starting (2s)\n\r\033[Kapp: Ready (3s)\n")


def test_several_projects_do_not_overwrite_each_other(terminal: Terminal) -> None:
    """Each change has a line; the clock of one does not make the others flicker."""
    steps = requests.Steps(terminal)

    steps.show("a", "Starting", 1.0)
    steps.show("b", "Starting", 1.0)
    steps.show("a", "Starting", 2.0)
    steps.leave("b")
    steps.show("a", "Ready", 3.0)
    steps.leave("b")
    steps.close()

    shown = terminal.getvalue().replace("\r\033[K", "").splitlines()
    assert shown == ["a: Starting (1s)", "b: Starting (1s)", "a: Ready (3s)"]


def test_a_step_is_cut_to_the_columns(terminal: Terminal) -> None:
    """Or the next could not overwrite it."""
    steps = requests.Steps(terminal)

    steps.show("app", "word " * 30, 61.0)
    steps.close()

    assert len(terminal.getvalue().replace("\r\033[K", "").rstrip("\n")) <= 40


@pytest.mark.parametrize(("codes", "worst"), [([], 0), ([0, 0], 0), ([0, 2], 2), ([2, 1, 0], 1)])
def test_the_exit_code_of_several_is_the_worst(codes: list[int], worst: int) -> None:
    """An error before what is only not so yet."""
    assert requests.worst(codes) == worst


def test_several_answers_are_a_table_with_the_keys_below() -> None:
    """A key is on a line of its own, to be copied."""
    results = [
        ProjectResult(project="blog", status="success", reason="Running"),
        ProjectResult(
            project="shop",
            status="waiting_for_key",
            reason="WaitingForKey",
            message="add it",
            public_key="ssh-ed25519 A",
        ),
    ]

    assert render.render_results(results).splitlines() == [
        "PROJECT  STATUS           REASON",
        "blog     success          Running",
        "shop     waiting_for_key  WaitingForKey: add it",
        "",
        "shop: please add this public key to your repository:",
        "ssh-ed25519 A",
    ]


def test_a_diff_is_coloured_and_steers_nothing() -> None:
    """Its lines are of files that others may have written."""
    shown = render.render_diff("--- a\n+++ b\n@@ -1 +1 @@\n same\n-old\n+new\x1b[2J", painted).splitlines()

    assert shown[3] == " same"
    assert shown[4] == "\x1b[31m-old\x1b[0m"
    assert shown[5] == "\x1b[32m+new\u241b[2J\x1b[0m"


def test_numbers_of_a_table_are_aligned_at_their_ends() -> None:
    """And a table without titles is only its rows."""
    assert render.table(("NAME", "N"), [("a", "1"), ("b", "100")], right=frozenset({1})) == [
        "NAME    N",
        "a       1",
        "b     100",
    ]
    assert render.table(None, [("a", "1")]) == ["a  1"]
