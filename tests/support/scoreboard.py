"""The scoreboard of the fault battery: a pytest plugin that counts tries and violations, and prints them as a table.

A test of the battery takes the fixture `score`, says `score.tried()` for each try and `score.violation(text)` for each
broken promise; it fails in the end when there was one. Its row is the first line of its docstring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROW = "scoreboard"
FREE = "free"
WITHIN = "within bubblewrap"
"""Ids of the two runs of a row about processes."""


class Score:
    """One row of the scoreboard."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        """Whether this is the nightly run."""
        self.tries = 0
        self.violations: list[str] = []

    def times(self, short: int, full: int) -> range:
        """How often to try: in CI, and in the nightly run."""
        return range(full if self.full else short)

    def tried(self, count: int = 1) -> None:
        """So many more tries were made."""
        self.tries += count

    def violation(self, text: str) -> None:
        """A promise was broken."""
        self.violations.append(text)

    def expect(self, kept: object, otherwise: str) -> None:
        """A promise that is kept, or else broken in these words."""
        if not kept:
            self.violation(otherwise)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The long form of the battery."""
    parser.addoption(
        "--full", action="store_true", help="run the fault battery at full length, as the nightly run does"
    )


@pytest.fixture(name="score")
def _score(request: pytest.FixtureRequest, record_property: Any) -> Iterator[Score]:
    score = Score(full=request.config.getoption("--full"))
    yield score
    record_property(ROW, [_title(request), score.tries, len(score.violations)])
    assert score.tries, "a scenario without a try proves nothing"
    assert not score.violations, "\n".join(score.violations)


def _title(request: pytest.FixtureRequest) -> str:
    """What a row is called."""
    title: str = (request.function.__doc__ or request.node.name).strip().splitlines()[0].rstrip(".")
    variant: str = getattr(getattr(request.node, "callspec", None), "id", FREE)
    if variant in {FREE, WITHIN}:
        return title if variant == FREE else f"{title}, {variant}"
    return f"{title} [{variant}]"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, when the battery ran."""
    rows: dict[str, tuple[int, int]] = {}
    crashed = {report.nodeid for report in terminalreporter.stats.get("failed", []) if report.when != "teardown"}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == ROW:
                    title, tries, violations = value
                    # A scenario that broke off proved nothing: that counts as a violation.
                    broken = max(violations, int(report.nodeid in crashed))
                    before = rows.get(title, (0, 0))
                    rows[title] = max(before, (tries, broken), key=lambda pair: (pair[1], pair[0]))
    if not rows:
        return
    width = max(map(len, rows))
    terminalreporter.section("fault battery")
    terminalreporter.write_line(f"{'SCENARIO':<{width}}  {'TRIES':>7}  VIOLATIONS")
    for title, (tries, violations) in sorted(rows.items()):
        terminalreporter.write_line(f"{title:<{width}}  {tries:>7}  {violations:>10}")
    total = sum(tries for tries, _ in rows.values()), sum(violations for _, violations in rows.values())
    terminalreporter.write_line(f"{'together':<{width}}  {total[0]:>7}  {total[1]:>10}")
