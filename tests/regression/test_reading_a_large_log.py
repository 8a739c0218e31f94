"""`logs` reads a large log from its end: its memory does not depend on what is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 300_000_000
MOST = 40_000
"""KiB."""
MEASURE = """
import resource, subprocess, sys
out = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE, check=True).stdout
print(len(out), out[-14:].decode(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process of its own: what it uses itself counts for its child too."""


@pytest.mark.parametrize(("lines", "printed"), [(1, 14), (100_000, 1_000_004)])
def test_the_last_lines_of_300_mb_in_40(tmp_path: Path, lines: int, printed: int) -> None:
    """Few lines or many, in the memory of a small program."""
    log = tmp_path / "opencode-logs" / "app-opencode.log"
    log.parent.mkdir()
    with log.open("wb") as file:
        file.truncate(SIZE)  # a hole, which takes no room on the disk
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"some line\n" * 100_001 + b"the last line\n")
    environment = {**os.environ, "OPENCODE_MANAGER_HOME": str(tmp_path), "OPENCODE_MANAGER_SPECS": str(tmp_path)}
    command = [sys.executable, "-S", "-c", MEASURE, "-m", "reconciler", "logs", "app", "-n", str(lines)]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    size, last, most = int(output.split()[0]), output.split("\n")[0], int(output.split()[-1])
    assert (size, last) == (printed, f"{size} the last line")
    assert most < MOST
