"""Ask the machine: what the checks of `doctor` know of it, in one place that tests can replace."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import processes
from reconciler.engines.local.world.world import LACKING
from reconciler.state import published
from reconciler.system import tcp_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.settings import Home, Settings

PATIENCE: Final = 10.0
"""Seconds for a program to print its version: npm takes one on a busy machine."""


class Machine:
    """This machine, for the user who asks.

    Args:
        settings: of the manager.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def home(self) -> Home:
        """Return the layout of the manager's home."""
        return self.settings.home

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables that a controller started now would have."""
        return self.settings.environment

    def has(self, program: str) -> bool:
        """Tell whether a program is on PATH."""
        return shutil.which(program, path=self.environment.get("PATH")) is not None

    def output(self, *argv: str) -> tuple[int, str]:
        """Run a program to its end; return its exit code and the first line that it printed. 127: it is not there."""
        try:
            done = subprocess.run(
                argv,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                check=False,
            )
        except FileNotFoundError:
            return 127, ""
        except (OSError, subprocess.SubprocessError) as error:
            return 126, str(error)
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        return done.returncode, lines[0] if lines else ""

    def text(self, path: str) -> str:
        """Return what a file of the kernel says; empty where it says nothing."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def space(self, path: Path) -> tuple[int, float]:
        """Return the free bytes of a file system, and the free share of its files, 0 to 1."""
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        about = os.statvfs(there)
        return about.f_bavail * about.f_frsize, about.f_favail / about.f_files if about.f_files else 1.0

    def open_files(self) -> int:
        """Return how many files a process of this user may have open, at most."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def file_clock(self, folder: Path, now: float) -> float | None:
        """Return by how many seconds the clock of a file system is ahead; None where nothing can be written."""
        probe = folder / f".doctor-{os.getpid()}"
        try:
            probe.touch(mode=0o600)
            return probe.stat().st_mtime - now
        except OSError:
            return None
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def mode(self, path: Path) -> tuple[int, int] | None:
        """Return permission bits and owner of a file; None where there is none."""
        try:
            about = path.stat()
        except OSError:
            return None
        return about.st_mode & 0o777, about.st_uid

    def user(self) -> int:
        """Return who asks."""
        return os.geteuid()

    def port_holder(self, port: int) -> str:
        """Return who listens on a port, for people; empty where it is free."""
        return tcp_ports.holder(port)

    def free_ports(self, low: int, high: int) -> int:
        """Return how many ports of a range can be used now."""
        return sum(tcp_ports.is_free(port) for port in range(low, high + 1))

    def handed_over(self) -> Iterator[tuple[str, str, str]]:
        """Yield each running project, how much of the user's its agent was given, and what it lacks."""
        for name, status in sorted(published.read(self.home).projects.items()):
            if given := status.get("handed_over"):
                lacks = (one for one in status.get("warnings", ()) if one.startswith(LACKING))
                yield name, given, next(lacks, "")

    def strays(self) -> Iterator[tuple[int, str]]:
        """Yield the processes with our mark that nobody supervises: pid, and the name of the project.

        A service whose keeper lives is none, and neither is one that a controller adopts when it runs.
        """
        place = f"{self.home.sandboxes}/".encode()
        for pid in identity.pids():
            environment = identity.read_bytes(f"/proc/{pid}/environ")
            mark = next((part for part in environment.split(b"\0") if part.startswith(_MARK)), b"")
            name, _, run_id = mark.removeprefix(_MARK).decode(errors="replace").partition(":")
            if name and place in environment and not self._supervised(name, run_id):
                yield pid, name

    def _supervised(self, name: str, run_id: str) -> bool:
        now = processes.now()
        seen = (processes.observe(self.home.sandbox(name).run, service, now) for service in ("agent", "bridge"))
        return any(service.keeper_pid and service.instance == run_id for service in seen)


_MARK: Final = f"{processes.MARKER}=".encode()
