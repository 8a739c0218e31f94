"""What waits for a person as text: what it is, and what to type."""

from __future__ import annotations

from typing import Any

from reconciler.frontends.cli.render_needs import LINES, NOTHING, render_needs

NEED: dict[str, Any] = {
    "id": "1f3a9c20",
    "kind": "permission",
    "project": "app",
    "message": "it asks leave",
    "since": 40.0,
    "tool": "bash",
    "command": "rm -rf build\nls",
    "always": ["rm *"],
    "session": "ses_1",
    "answers": ["once", "always", "deny"],
}


def lines(**fields: Any) -> list[str]:
    return render_needs([{**NEED, **fields}], 100.0).splitlines()


def test_a_permission_shows_the_command_and_how_to_answer() -> None:
    """Line by line, with its age."""
    assert lines() == [
        "app  1f3a9c20  permission  1m  bash",
        "  it asks leave",
        "  | rm -rf build",
        "  | ls",
        "  always allows: rm *",
        "  session: ses_1",
        "  -> opencode-manager answer app 1f3a9c20 once|always|deny",
    ]


def test_a_long_command_is_cut_and_says_so() -> None:
    """Nobody allows unseen what is longer."""
    shown = lines(command="x\n" * (LINES + 5), cut=True)

    assert "  | ... and 5 more lines" in shown
    assert any(line.startswith("  (it is longer than what is shown") for line in shown)


def test_a_question_has_its_options_by_number() -> None:
    """Words with blanks are quoted as a shell takes them."""
    options = [{"label": "Sky blue", "description": "cool"}, {"label": "Red", "description": ""}]
    question = {"text": "Which?", "header": "", "options": options, "multiple": True}
    shown = lines(kind="question", command="", questions=[question], answers=["Sky blue", "Red", "TEXT", "deny"])

    assert "  1) Sky blue: cool (one or more)" in shown
    assert "  2) Red (one or more)" in shown
    assert shown[-1] == "  -> opencode-manager answer app 1f3a9c20 'Sky blue'|Red|TEXT|deny"


def test_of_several_questions_each_gets_an_answer() -> None:
    """In their order, or all are denied: the line can be typed as it is."""
    question = {"text": "Which?", "header": "", "options": [], "multiple": False}
    shown = lines(kind="question", command="", questions=[question, question], answers=["TEXT", "deny"])

    assert [line.partition("1f3a9c20 ")[2] for line in shown[-2:]] == ["ANSWER1 ANSWER2", "deny"]


def test_what_is_not_answered_names_the_command() -> None:
    """A key is shown whole."""
    shown = lines(kind="secrets", command="", answers=[], do="opencode-manager secrets app", public_key="ssh-ed25519 A")

    assert "  ssh-ed25519 A" in shown
    assert shown[-1] == "  -> opencode-manager secrets app"


def test_nothing_waits() -> None:
    """It says so."""
    assert render_needs([], 0.0) == NOTHING
