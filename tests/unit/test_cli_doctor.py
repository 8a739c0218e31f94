"""What `doctor` says of the controller, and how it is laid out."""

from __future__ import annotations

from typing import Any

from reconciler import __version__
from reconciler.api import doctor
from reconciler.core.findings import Finding, Level, good, note, problem
from reconciler.frontends.cli.commands.doctor import render_findings, summary
from reconciler.state.published import ControllerInfo, Index


def index(**fields: Any) -> Index:
    about: dict[str, Any] = {"pid": 1, "specs": "/specs", "http_port": 4099, "started": 0.0, "version": __version__}
    return Index(controller=ControllerInfo(**{**about, **fields}), running=True)


def only(*found: Finding) -> tuple[Level, str, str]:
    [finding] = found
    return finding.level, finding.message, finding.cure


def test_a_controller_that_does_not_run_or_is_old_is_a_note() -> None:
    """The agents go on without it."""
    assert only(*doctor.controller(Index()))[0] is Level.NOTE
    assert "version 0.0.1" in only(*doctor.controller(index(version="0.0.1")))[1]
    assert only(*doctor.controller(index()))[0] is Level.OK


def test_an_endpoint_that_is_not_served_is_a_problem_with_its_cause() -> None:
    """As the controller has published it."""
    trouble = "cannot serve MCP on port 4099: address in use"

    broken = index(http_port=0, warnings=("other", trouble))
    assert only(*doctor.endpoint(broken, 4099, ""))[:2] == (Level.PROBLEM, trouble)
    assert only(*doctor.endpoint(index(), 4099, ""))[0] is Level.OK
    assert list(doctor.endpoint(Index(), 4099, "")) == []
    assert only(*doctor.endpoint(Index(), 4099, "pid 7 (nginx)"))[1] == "port 4099 is taken by pid 7 (nginx)"


def test_the_fix_stands_below_what_it_fixes() -> None:
    """Aligned, and nothing that others wrote reaches the terminal."""
    lines = render_findings([good("git", "version 2"), problem("orphans", "process 1 of \x1b[2Japp", "kill 1")])

    assert lines == [
        "ok       git      version 2",
        "problem  orphans  process 1 of app",
        "                  fix: kill 1",
    ]


def test_long_lines_are_wrapped_below_their_text() -> None:
    """On a narrow terminal."""
    lines = render_findings([note("disk", "word " * 20, "fix it")], width=40)

    assert max(len(line) for part in lines for line in part.splitlines()) <= 40


def test_the_summary_counts() -> None:
    """In words."""
    assert summary([good("a", "b")]) == "Everything is well."
    assert summary([note("a", "b", "c"), problem("a", "b", "c")]) == "1 problem and 1 note in 2 lines."
