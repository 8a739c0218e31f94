"""A real systemd to install services in: a host of its own, as an ordinary background process of root.

Belongs here: starting one by the scripts `up`, `in` and `down`, which are no part of this repository. Does not belong
here: what is installed in it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = Path(os.environ.get("OCM_SYSTEMD_SCRIPTS") or ROOT.parent / "shared" / "systemd")
PATIENCE: Final = 300.0
"""Seconds: the first host of a machine is installed from Debian's archive."""
USER: Final = "alex"
UID: Final = 1000


class Host:
    """A host that runs. Its user lives in a folder of ours, so that a reboot keeps it.

    Args:
        folder: the host's own.
        home: of the user; also of everything that is to outlive a reboot.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._home = home

    def boot(self) -> None:
        """Start it, with this repository and its Python in it, and let the user's services run from boot on."""
        mounts = {ROOT, Path(sys.prefix), Path(sys.base_prefix), self._home}
        subprocess.run(
            [SCRIPTS / "up", self._folder, *sorted(map(str, mounts))], check=True, timeout=PATIENCE, capture_output=True
        )
        self.root("chmod", "o+x", "/root")  # a Python below it is the user's too
        self.root("usermod", "-d", str(self._home), USER)
        self.root("loginctl", "enable-linger", USER)
        self.root("systemctl", "start", f"user@{UID}.service")

    def shut_down(self) -> None:
        """End it, with everything in it."""
        subprocess.run([SCRIPTS / "down", self._folder], check=True, timeout=PATIENCE, capture_output=True)

    def root(self, *command: str) -> str:
        """Run a command as root."""
        return self._run(*command)

    def run(self, *command: str, code: int | None = 0) -> str:
        """Run a command as the user; what it printed."""
        line = f"export XDG_RUNTIME_DIR=/run/user/{UID}; exec {shlex.join(command)}"
        return self._run("su", USER, "-c", line, code=code)

    def _run(self, *command: str, code: int | None = 0) -> str:
        done = subprocess.run(
            [SCRIPTS / "in", self._folder, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert code is None or done.returncode == code, f"{command} ended with {done.returncode}: {done.stdout}"
        return done.stdout


@contextlib.contextmanager
def host(folder: Path, home: Path) -> Iterator[Host]:
    """A host until the end of the block; skips loudly where there can be none."""
    if not SCRIPTS.joinpath("up").exists():
        pytest.skip(f"there is no real systemd: its scripts are not in {SCRIPTS}")
    if os.geteuid() != 0:
        pytest.skip("a real systemd in namespaces needs root")
    made = Host(folder, home)
    made.boot()
    try:
        yield made
    finally:
        made.shut_down()
