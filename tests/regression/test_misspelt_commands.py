"""What is misspelt on the command line is answered as git and docker do."""

from __future__ import annotations

import pytest

from reconciler.frontends.cli import main, parsing

USAGE = 64


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("statsu", "status"),
        ("strat blog", "start"),
        ("conform-missing", "confirm-missing"),
        ("help statsu", "status"),
        ("--spces x list", "--specs"),
        ("status --wacth", "--watch"),
        ("destroy blog --discard-unpush", "--discard-unpushed"),
        ("start blog --wiat=5", "--wait"),
        ("list -o jsn", "json"),
    ],
)
def test_what_is_nearly_right_is_answered_with_what_is_right(
    line: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands, options and values, in one sentence after the usage."""
    assert main.main(line.split()) == USAGE

    usage, sentence = capsys.readouterr().err.strip().rsplit("\n", 1)
    assert usage.startswith("usage: opencode-manager")
    assert sentence.startswith("cannot understand the command line: ")
    assert f"did you mean {meant!r}?" in sentence


@pytest.mark.parametrize("line", ["nonsense", "status --nonsense", "schema too many"])
def test_what_is_near_to_nothing_gets_no_suggestion(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And no list of everything either."""
    assert main.main(line.split()) == USAGE

    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", "soon", ""])
def test_a_wait_that_would_never_end_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No number, or one that no time reaches."""
    assert main.main(["stop", "blog", "--wait", seconds]) == USAGE

    assert f"argument --wait: {seconds!r} is not a number of seconds" in capsys.readouterr().err


def test_help_is_a_command_with_and_without_another(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as --help."""
    shown = []
    for line in ("help", "--help", "help start", "start --help"):
        assert main.main(line.split()) == 0
        shown.append(capsys.readouterr().out)

    assert shown[0] == shown[1]
    assert shown[2] == shown[3]
    assert "usage: opencode-manager start" in shown[2]


def test_no_command_at_all_shows_the_help_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, so that a script's output stays empty."""
    assert main.main([]) == USAGE
    nothing = capsys.readouterr()
    main.main(["--help"])

    assert nothing.out == ""
    assert nothing.err == capsys.readouterr().out


def test_help_fits_a_terminal_and_names_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In groups, aligned, at 80 columns and less than 70 lines."""
    monkeypatch.setenv("COLUMNS", "80")
    main.main(["--help"])

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 70
    named = {line.split()[0] for line in lines if line.startswith("  ")}
    assert {"run", "mcp", "start", "stop", "destroy", "list", "status", "logs", "plan", "validate", "schema"} <= named


def test_the_specs_folder_can_be_named_before_and_after_the_command() -> None:
    """Nobody remembers which."""
    assert parsing.parse(["--specs", "a", "list"])[1].specs == parsing.parse(["list", "--specs", "a"])[1].specs
    assert parsing.parse(["list"])[1].specs is None
