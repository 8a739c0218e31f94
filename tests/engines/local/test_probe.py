"""A hostile agent under the real keeper: what it can do within bubblewrap, and what without, as root and as anybody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import probing
from tests.support.bubblewrap import bubblewrap_or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
SOMEBODY = 65534
ALLOWED = {
    *(f"read {name}" for name in (*probing.OWN, "the user's notes")),
    *(f"write {place}" for place in ("its own clone", "its own home", "/tmp")),  # noqa: S108
}
"""What an agent must be able to do, however it is confined."""
OPEN = {
    *(f"read {name}" for name in (*probing.PRIVATE, *probing.MANAGERS)),
    *(f"write {place}" for place in ("the user's home", "a folder outside", "the specs", "a neighbour's clone")),
    *("write the manager's home", "write the answers to needs"),
    "connect to docker.sock",
    "connect to hub",
    "read a key through a symbolic link",
    "read a key through a hard link",
    "read .env through ..",
    "read a key through /proc/PID/root",
    "read secrets in /proc/PID/environ",
    "signal keeper and bridge",
}
"""What it can do without confinement, whoever runs it."""
OPEN_TO_ROOT = {"write /usr", "set up the kernel"}
"""The same, for root alone."""


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    """One that is not below pytest's, into which only its own user sees."""
    folder = Path(tempfile.mkdtemp(prefix="probe-"))
    yield folder
    shutil.rmtree(folder)


def python_of_somebody() -> str:
    """A Python that an ordinary user may run with what is installed here, else the test is skipped."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in filter(None, (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin"))):
        try:
            done = run_as_somebody([program, "-c", "import tests.support.probing"])
        except PermissionError:
            continue
        if done.returncode == 0:
            return program
    pytest.skip("NOT TESTED as an ordinary user: none can read this Python, or this folder")


def run_as_somebody(command: list[str]) -> subprocess.CompletedProcess[str]:
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{packages}:{ROOT}", "HOME": "/nonexistent"}
    ids = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": list[int]()}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False, **ids)  # type: ignore[call-overload, no-any-return]


def probe(folder: Path, method: str, *, as_somebody: bool) -> tuple[set[str], set[str]]:
    """What the agent could do, and what it could not."""
    arguments = ["-m", "tests.support.probing", str(folder), method]
    if as_somebody:
        os.chown(folder, SOMEBODY, SOMEBODY)
        done = run_as_somebody([python_of_somebody(), *arguments])
    else:
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, bool] = json.loads(done.stdout)
    return {name for name, could in found.items() if could}, {name for name, could in found.items() if not could}


WHO = pytest.mark.parametrize("as_somebody", [False, True], ids=["as who tests", "as an ordinary user"])


def _skip_if_the_same(*, as_somebody: bool) -> None:
    if as_somebody and os.getuid() != 0:
        pytest.skip("this is an ordinary user already")


@WHO
def test_within_bubblewrap_nothing_is_open(folder: Path, *, as_somebody: bool) -> None:
    """It can do what it must, and nothing else of all that it tries."""
    _skip_if_the_same(as_somebody=as_somebody)
    bubblewrap_or_skip()

    could, could_not = probe(folder, "bubblewrap", as_somebody=as_somebody)

    assert could == ALLOWED
    assert len(could_not) > len(OPEN | OPEN_TO_ROOT)


@WHO
def test_what_is_open_without_confinement(folder: Path, *, as_somebody: bool) -> None:
    """Each of these attempts is worth something: SECURITY.md has the table."""
    _skip_if_the_same(as_somebody=as_somebody)

    could, could_not = probe(folder, "none", as_somebody=as_somebody)

    assert could >= OPEN | ALLOWED
    if os.getuid() == 0 and not as_somebody:
        assert could >= OPEN_TO_ROOT
    else:
        assert could_not >= OPEN_TO_ROOT
