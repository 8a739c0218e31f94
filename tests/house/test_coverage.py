"""The core is covered by its unit tests alone: every statement, every branch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOT_YET: frozenset[str] = frozenset()
"""Modules that may have gaps, by path. It stays empty."""


def coverage(folder: Path, *command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "coverage", *command],
        cwd=ROOT,
        env={**environment, "COVERAGE_FILE": str(folder / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def gaps(module: dict[str, Any]) -> list[str]:
    """Return lines that no test runs, and branches that none takes."""
    branches = [f"{begin}->{end}" for begin, end in module["missing_branches"]]
    return [str(line) for line in module["missing_lines"]] + branches


@pytest.mark.long
def test_every_branch_of_the_core_is_taken_by_a_unit_test(tmp_path: Path) -> None:
    """One that needs more than values to be reached is in the wrong place."""
    coverage(tmp_path, "run", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/unit")
    coverage(tmp_path, "json", "-q", "-o", str(tmp_path / "report.json"))

    modules = json.loads((tmp_path / "report.json").read_text())["files"]
    missing = {name: found for name, module in modules.items() if (found := gaps(module))}

    assert len(modules) > 10
    assert {name: found for name, found in missing.items() if name not in NOT_YET} == {}
