"""The rules of the house, checked: types, style, layers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "reconciler").rglob("*.py"))
BROAD_EXCEPTS = 2
LONGEST_CASE = 30


def check(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@pytest.mark.long
def test_mypy_strict() -> None:
    """Every type is right."""
    check(tool("mypy"))


def test_ruff() -> None:
    """Every rule that is not switched off with a reason is kept."""
    check(tool("ruff"), "check", ".")


def test_formatting() -> None:
    """Formatting is nobody's opinion."""
    check(tool("ruff"), "format", "--check", ".")


def test_import_contracts() -> None:
    """Layers, the pure core, frontends that never act, one way to processes."""
    check(tool("lint-imports"), "--no-cache")


@pytest.mark.parametrize("path", sorted((ROOT / "tests/regression").glob("test_*.py")), ids=lambda path: path.stem)
def test_regression_cases_are_short(path: Path) -> None:
    """Each can be read at one look: what was done, what was seen."""
    functions = (
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    cases = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions if node.name.startswith("test")}

    assert cases
    assert {name: lines for name, lines in cases.items() if lines >= LONGEST_CASE} == {}


def test_broad_excepts_are_few() -> None:
    """Round a pass, and round what nobody can foresee: two at most."""
    broad = re.compile(r"except\s*:|except\s+(Base)?Exception\b")
    found = [
        f"{path.name}: {line.strip()}"
        for path in PRODUCT
        for line in path.read_text().splitlines()
        if broad.search(line) and "BaseException" not in line
    ]

    assert len(found) <= BROAD_EXCEPTS, found


@pytest.mark.parametrize("word", ["shell=True", "time.sleep", "pgrep", "pkill", "0.0.0.0", "os.system"])  # noqa: S104
def test_words_that_have_no_place_in_the_product(word: str) -> None:
    """Each stands for a way of going wrong that others have shown."""
    assert [path.name for path in PRODUCT if word in path.read_text()] == []


def test_no_import_hides_in_a_function() -> None:
    """A cycle is solved by moving what is shared down, not by hiding the import."""
    hidden = [
        f"{path.name}:{inner.lineno}"
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]

    assert hidden == []


def test_every_module_says_what_it_is_for() -> None:
    """One or two sentences."""
    assert [path.name for path in PRODUCT if not ast.get_docstring(ast.parse(path.read_text()))] == []
