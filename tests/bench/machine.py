"""What the benchmark asks of the machine: the light service, when its copies started and ended, what processes cost."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

HERE: Final = Path(__file__).parent
PATIENCE: Final = 90.0
"""Seconds to wait for any event."""
_SHARE: Final = 300
"""Ports of one run of the benchmark; nine runs on a machine, all below what the system gives to clients."""
_CPU_CLOCK: Final = 2
"""CPUCLOCK_SCHED: the kind of clock that a pid is made into, see clock_getcpuclockid(3)."""


@dataclass(frozen=True)
class Service:
    """One copy of the light service; its port is who it is."""

    name: str
    port: int


@dataclass(frozen=True)
class Start:
    """One process of a light service told that it started."""

    port: int
    pid: int
    at: int
    """CLOCK_MONOTONIC, nanoseconds."""


def build_light(folder: Path) -> tuple[Path, str]:
    """The light service as a program in this folder, and what it is."""
    program, compiler = folder / "light", shutil.which("cc")
    if compiler:
        command = [compiler, "-O2", "-D_GNU_SOURCE", "-o", str(program), str(HERE / "light.c")]
        for options in (["-static"], []):
            if subprocess.run([*command, *options], capture_output=True, check=False).returncode == 0:
                return program, f"a C program{', static' if options else ''}"
    program.write_text(f"#!{sys.executable} -IS\n{HERE.joinpath('light.py').read_text()}")
    program.chmod(0o755)
    return program, "a Python script, for want of a C compiler: it starts some 15 ms later"


@contextlib.contextmanager
def reserve_ports() -> Iterator[range]:
    """A share of ports that no other run of the benchmark on this machine has."""
    for first in range(30_000, 30_000 + 9 * _SHARE, _SHARE):
        with socket.socket(socket.AF_UNIX) as mark:
            try:  # an abstract name: free again however its holder ends
                mark.bind(f"\0opencode-manager-bench-{first}")
            except OSError:
                continue
            yield range(first, first + _SHARE)
            return
    raise SystemExit("cannot find a share of ports: nine benchmarks run on this machine already")


class Starts:
    """What the light services tell about their starts."""

    def __init__(self, fifo: Path) -> None:
        os.mkfifo(fifo)
        self.fifo = fifo
        self.heard: list[Start] = []
        self._pipe = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self._text = ""

    def close(self) -> None:
        """Hear no more."""
        os.close(self._pipe)

    def wait(self, services: Collection[Service], since: int) -> dict[int, Start]:
        """Wait until each of them has started since then; its first such start by port."""
        wanted, deadline = {service.port for service in services}, time.monotonic() + PATIENCE
        while True:
            found = {start.port: start for start in reversed(self.since(since)) if start.port in wanted}
            if len(found) == len(wanted):
                return found
            if not self._listen(deadline):
                raise TimeoutError(f"{len(found)} of {len(wanted)} services started within {PATIENCE:.0f} s")

    def since(self, at: int) -> list[Start]:
        """All starts since then that are known."""
        while self._listen(0.0):
            pass
        return [start for start in self.heard if start.at >= at]

    def listen_for(self, seconds: float) -> None:
        """Hear whatever is told for so long."""
        deadline = time.monotonic() + seconds
        while self._listen(deadline):
            pass

    def pid(self, service: Service) -> int:
        """Of the copy that started last."""
        self.since(0)
        return max((start.at, start.pid) for start in self.heard if start.port == service.port)[1]

    def _listen(self, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return False
        self._text += os.read(self._pipe, 65536).decode()
        *lines, self._text = self._text.split("\n")
        self.heard += [Start(*map(int, line.split())) for line in lines]
        return True


class Ends:
    """Pidfds of processes, to see exactly when the last of them ended."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._poll = select.poll()
        self._open: set[int] = set()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                self._open.add(pidfd)
                self._poll.register(pidfd, select.POLLIN)

    def wait(self) -> int:
        """Wait until all have ended; the time it was, CLOCK_MONOTONIC in nanoseconds."""
        deadline, at = time.monotonic() + PATIENCE, time.monotonic_ns()
        while self._open:
            ended = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            at = time.monotonic_ns()
            if not ended:
                raise TimeoutError(f"{len(self._open)} processes live after {PATIENCE:.0f} s")
            for pidfd, _ in ended:
                self._poll.unregister(pidfd)
                self._open.discard(pidfd)
                os.close(pidfd)
        return at


def cpu(pids: Iterable[int]) -> float:
    """Seconds of CPU that these processes have used, to the nanosecond; those that ended count nothing."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    return total


def memory(pids: Iterable[int]) -> float:
    """Megabytes of these processes: each shared page is divided among its users (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def family(pids: Iterable[int]) -> set[int]:
    """These processes and all that descend from them."""
    found: set[int] = set()
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return found


def lives(pid: int) -> bool:
    """Whether this process runs: a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def end_all(root: Path) -> None:
    """Kill every process whose program, arguments or environment name the folder of this run."""
    for process in _mentioning(str(root)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(_mentioning(str(root)), timeout=15)


def _mentioning(needle: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            strings = [process.exe(), *process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and needle in " ".join(strings):
                found.append(process)
    return found
