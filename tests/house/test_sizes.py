"""Sizes of the house: how long functions and files are, and how much is tests. `pytest -rP` prints the numbers."""

from __future__ import annotations

import ast
import statistics
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "reconciler").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MEDIAN_FUNCTION, P90_FUNCTION, LONGEST_FUNCTION = 8, 22, 50
LONGEST_FILE = 400
LONGEST_TEST_FUNCTION, LONGEST_TEST_FILE = 60, 420
TESTS_TO_CODE = 1.2
TOO_LONG: dict[str, set[str]] = {}
"""What is longer, by path: it stays empty."""


@cache
def functions(path: Path) -> dict[str, int]:
    """Return the lines of each function in a file, without its decorators."""
    return {
        f"{node.name}:{node.lineno}": (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def too_long(path: Path, longest_function: int, longest_file: int) -> set[str]:
    found = {name.partition(":")[0] for name, length in functions(path).items() if length > longest_function}
    return found | ({"the file"} if lines(path) > longest_file else set())


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_longer_than_a_screen_and_no_file_than_can_be_read_at_once(path: Path) -> None:
    """Both limits hold for every module of the product."""
    allowed = TOO_LONG.get(str(path.relative_to(ROOT)), set())

    assert too_long(path, LONGEST_FUNCTION, LONGEST_FILE) <= allowed


def test_the_list_of_what_is_too_long_only_shrinks() -> None:
    """What was shortened, or is gone, leaves the list."""
    found = {str(path.relative_to(ROOT)): too_long(path, LONGEST_FUNCTION, LONGEST_FILE) for path in PRODUCT}

    assert [path for path, names in TOO_LONG.items() if names - found.get(path, set())] == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_are_short_too(path: Path) -> None:
    """With somewhat more room: a table of cases is long and simple."""
    assert too_long(path, LONGEST_TEST_FUNCTION, LONGEST_TEST_FILE) == set()


def test_functions_are_short_on_the_whole() -> None:
    """The median and the 90th percentile of the product's functions."""
    lengths = sorted(length for path in PRODUCT for length in functions(path).values())
    median, p90 = statistics.median(lengths), lengths[int(len(lengths) * 0.9)]
    sys.stdout.write(f"{len(lengths)} functions: median {median:.0f} lines, p90 {p90}, max {lengths[-1]}\n")

    assert median <= MEDIAN_FUNCTION
    assert p90 <= P90_FUNCTION


def test_there_is_more_test_than_code() -> None:
    """Lines of the tests for each line of the product."""
    code, tests = sum(map(lines, PRODUCT)), sum(map(lines, TESTS))
    files = sorted(map(lines, PRODUCT))
    sys.stdout.write(f"{len(files)} modules: median {files[len(files) // 2]} lines, max {files[-1]}\n")
    sys.stdout.write(f"{code} lines of code, {tests} of tests: {tests / code:.2f}\n")

    assert tests / code >= TESTS_TO_CODE
