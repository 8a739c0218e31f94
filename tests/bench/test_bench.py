"""The benchmark in its quick form: it runs, and every line has its figures. No opinion on how good they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bench import table
from tests.bench.__main__ import ANOTHER_FAILED

ROOT = Path(__file__).parents[2]
OURS_ALONE = {"add-mcp", "stop-tool", "idle-probes", "killed-managed", "killed-managed-exec", "resync", "ready"}
NOT_OF_A_LOOP = {"status-client", "idle", "memory", "memory-supervisor"} | {
    "killed-adopted",
    "killed-copies",
    "killed-failed",
}


@pytest.fixture(name="place", scope="module")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(name="lines", scope="module")
def _lines(place: Path) -> dict[str, list[dict[str, Any]]]:
    """Of the JSON, by row."""
    path = place / "figures.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(path)]
    environment = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if done.returncode == ANOTHER_FAILED:  # no matter of ours; whatever we fail at is never tried again
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0
    found: dict[str, list[dict[str, Any]]] = {}
    for line in json.loads(path.read_text())["rows"]:
        found.setdefault(line["row"], []).append(line)
    return found


def expected(row: table.Row) -> set[str]:
    if row.key in OURS_ALONE:
        return {"ours"}
    return set(table.CONTENDERS) - ({table.BASE} if row.key in NOT_OF_A_LOOP else set())


@pytest.mark.long
@pytest.mark.xdist_group("bench")
@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: row.key)
def test_every_contender_has_a_figure(lines: dict[str, list[dict[str, Any]]], row: table.Row) -> None:
    """In each line that it can be compared in."""
    assert lines[row.key]
    for line in lines[row.key]:
        assert set(line["median"]) == expected(row)
        assert all(len(samples) > 0 for samples in line["samples"].values())


@pytest.mark.xdist_group("bench")
def test_nothing_is_left(lines: dict[str, list[dict[str, Any]]], place: Path) -> None:
    """No process and no folder of the benchmark."""
    assert lines
    everybody = psutil.process_iter(["cmdline"])
    left = [process.info for process in everybody if str(place) in str(process.info["cmdline"])]

    assert left == []
    assert list(place.iterdir()) == [place / "figures.json"]
