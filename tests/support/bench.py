"""A bench for one service under a real keeper: it starts misbehaving children, awaits their reports, leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import watchfiles

from reconciler.engines.local.confinement.walls import PathAccess, Walls, command
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import processes
from reconciler.engines.local.processes.listener import family
from reconciler.engines.local.processes.processes import Launch
from tests.support.bubblewrap import bubblewrap_or_skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from reconciler.engines.local.facts import LocalService

MISBEHAVE = Path(__file__).with_name("misbehave.py")
PATIENCE = 60.0
"""Seconds to wait for any event on a loaded machine of two cores."""
SECRET = "a-very-secret-value"
SERVICE = "agent"
HOSTILE = ["ignore", "swallow", "hang", "daemon", "hidden", "marked", "storm", "orphans"]
"""Modes whose tree does not want to end."""
OFFSPRING = {"daemon": "grandchild", "hidden": "grandchild", "marked": "grandchild", "orphans": "orphan"}
"""Who else tells in these modes."""


class Bench:
    """One run folder and its service.

    Args:
        root: everything is below it.
        confined: whether the service runs within bubblewrap, where it may write below the root.
    """

    def __init__(self, root: Path, *, confined: bool = False) -> None:
        self.confined = confined
        self.run = root / "run"
        self.run.mkdir()
        self.log = root / "service.log"
        self.pid_file = root / "service.pid"
        self.fifo = root / "announced"
        os.mkfifo(self.fifo)
        self._pipe = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)
        self._text = ""
        self.announced: dict[int, str] = {}
        """Pids that told, and their roles."""
        self._known: dict[int, psutil.Process] = {}

    def launch(self, mode: str, argument: object = "", *, grace: float = 1.0) -> Launch:
        """What runs the misbehaving child."""
        root = str(self.run.parent.resolve())
        python = (sys.executable, "-S", "-E", str(MISBEHAVE), str(self.fifo), mode, str(argument))
        return Launch(
            argv=(*(confined(root) if self.confined else ()), *python),
            env={"PATH": os.environ["PATH"], "THE_PASSWORD": SECRET},
            cwd=self.run.parent,
            log=self.log,
            pid_file=self.pid_file,
            digest="digest-1",
            port=4100,
            grace=grace,
            project="blog",
            confinement="bubblewrap" if self.confined else "none",
        )

    async def start(self, mode: str, argument: object = "", *, grace: float = 1.0) -> str:
        """Start the misbehaving child under a keeper."""
        return await processes.start(self.run, SERVICE, self.launch(mode, argument, grace=grace))

    def facts(self) -> LocalService:
        """What there is."""
        return processes.observe(self.run, SERVICE, processes.now())

    async def stop(self) -> bool:
        """End it."""
        return await processes.stop(self.run, SERVICE, timeout=PATIENCE)

    def record(self, kind: str) -> dict[str, Any]:
        """The run or exit record as it stands in its file."""
        found: dict[str, Any] = json.loads((self.run / f"{SERVICE}.{kind}.json").read_text())
        return found

    def hear(self, role: str, count: int = 1) -> list[int]:
        """Wait until this many processes of a role have told, and return their pids."""
        deadline = time.monotonic() + PATIENCE
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while len(found := [pid for pid, announced in self.announced.items() if announced == role]) < count:
            assert poll.poll(max(0.0, deadline - time.monotonic()) * 1000), f"no {role} told anything"
            self._text += os.read(self._pipe, 65536).decode()
            *lines, self._text = self._text.split("\n")
            outside = self._outside() if self.confined else {}
            for line in lines:
                name, _, number = line.partition(" ")
                pid = outside.get(int(number), -int(number)) if self.confined else int(number)  # negative: it has ended
                self.announced[pid] = name
                with contextlib.suppress(psutil.NoSuchProcess, ValueError):
                    self._known[pid] = psutil.Process(pid)
        return found

    def _outside(self) -> dict[int, int]:
        """The pids of those who live, by the number that each knows itself by, in a namespace of its own."""
        found: dict[int, int] = {}
        holder = self.facts().pid
        for pid in () if holder is None else family(holder):
            status = identity.read_bytes(f"/proc/{pid}/status").partition(b"\nNSpid:")[2]
            numbers = status.partition(b"\n")[0].split()
            found |= {int(numbers[-1]): pid} if len(numbers) > 1 else {}
        return found

    def silent(self) -> bool:
        """Whether nothing was told that was not heard."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        return not poll.poll(0)

    def living(self) -> list[int]:
        """Of those that told, and of those whose arguments name our folder: keepers and their services."""
        living = {pid for pid, process in self._known.items() if _lives(process)}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.run.parent) in " ".join(process.cmdline()) and _lives(process):
                    living.add(process.pid)
        return sorted(living)

    async def exited(self) -> LocalService:
        """Wait until nothing of the run is left, and return what is said about it."""
        facts = self.facts()
        while facts.keeper_pid is not None:
            await gone(facts.keeper_pid)
            facts = self.facts()
        return facts

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait until something is so; looks again whenever a file of the run folder changes."""
        async with asyncio.timeout(PATIENCE):
            async for _ in watchfiles.awatch(self.run, rust_timeout=200, debounce=50, step=10, yield_on_timeout=True):
                if wanted():
                    return

    async def close(self) -> None:
        """End everything that is left."""
        with contextlib.suppress(OSError):
            await self.stop()
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await gone(pid)
        os.close(self._pipe)


def confined(root: str) -> tuple[str, ...]:
    """What confines a program that may write below the root, else the test is skipped."""
    found = bubblewrap_or_skip()
    places = {root: PathAccess.WRITE}
    return command(Walls(bubblewrap=found.program, unshare=found.unshare, folder=root, places=places))


@contextlib.asynccontextmanager
async def a_bench(root: Path, *, confined: bool = False) -> AsyncIterator[Bench]:
    """A bench that is left empty."""
    bench = Bench(root, confined=confined)
    try:
        yield bench
    finally:
        await bench.close()


@contextlib.contextmanager
def a_stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of our business, and must live to the end."""
    with subprocess.Popen(["/bin/sleep", "1000"]) as stranger:
        try:
            yield stranger
            assert stranger.poll() is None
        finally:
            stranger.kill()


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


async def kill(pid: int | None) -> None:
    """Kill -9, and wait until it is so."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await gone(pid)


async def gone(pid: int) -> None:
    """Wait until a process has ended, whoever's child it is."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await readable(pidfd)
    finally:
        os.close(pidfd)


async def readable(handle: int) -> None:
    """Wait for an event on a descriptor."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, event.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await event.wait()
    finally:
        loop.remove_reader(handle)


def children(pid: int) -> list[int]:
    """Of a process, zombies included."""
    return [other for other in identity.pids() if identity.Stat(other).parent == pid]
