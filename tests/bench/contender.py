"""What every contender can be asked to do, and the bare loop: what the machine itself takes.

The interface keeps the books of processes; every ratio is against the loop of posix_spawn.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from tests.bench import machine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.install import Installed
    from tests.bench.machine import Service, Starts


@dataclass(frozen=True)
class Stage:
    """What a contender works with: one folder, some services, and one more to be added later."""

    root: Path
    light: Path
    installed: Installed
    starts: Starts
    services: tuple[Service, ...]
    extra: Service

    def arguments(self, service: Service) -> list[str]:
        """Of the light service, after the program."""
        return ["--port", str(service.port), "--starts", str(self.starts.fifo)]

    def command(self, service: Service) -> list[str]:
        """The light service."""
        return [str(self.light), *self.arguments(service)]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client that was connected already was told."""

    milliseconds: list[float]
    pids: dict[str, int] = field(default_factory=dict)
    """Of running services, by name."""


@dataclass(frozen=True, kw_only=True)
class Managed:
    """Milliseconds until every service was managed again."""

    after_exec: float
    after_start_up: float
    """Since the supervisor itself says that it is up."""


class Contender(ABC):
    """One way of keeping services running."""

    name: ClassVar[str]
    calm: ClassVar[float] = 0.0
    """Seconds that a service must have lived before its death counts as a first one."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.began = 0
        self.killed: set[Service] = set()
        """Services that had their first restart."""

    # -- from nothing to nothing ---------------------------------------------------------------------------------------

    def prepare(self) -> None:  # noqa: B027  most have nothing to prepare
        """Whatever happens once, before anything is measured."""

    @abstractmethod
    def start(self) -> None:
        """Start the supervisor, which starts every service; returns when that is asked for."""

    def rest(self) -> None:
        """Wait until everything has come to rest."""
        starts = self.stage.starts.since(self.began)
        if self.calm and starts:
            age = (time.monotonic_ns() - max(start.at for start in starts)) / 1e9
            self.stage.starts.listen_for(max(0.0, self.calm - age))

    @abstractmethod
    def stop_all(self) -> None:
        """Ask for the end of every service; may return before that."""

    @abstractmethod
    def end(self) -> None:
        """End the supervisor, its services being stopped."""

    # -- one service ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def add_by_hand(self) -> None:
        """Want one service more, as a person with an editor and a terminal would."""

    def add_by_tool(self) -> None:
        """The same through the contender's own tool."""
        self.add_by_hand()

    @abstractmethod
    def remove(self) -> None:
        """Take it back; done when it has ended and its supervisor knows."""

    def kill(self, service: Service) -> None:
        """Kill -9 one service."""
        os.kill(self.stage.starts.pid(service), signal.SIGKILL)

    # -- the supervisor ------------------------------------------------------------------------------------------------

    @abstractmethod
    def status_command(self) -> list[str]:
        """The command line that shows the status of everything."""

    environment: dict[str, str] | None = None
    """Of that command."""

    def ask(self, times: int) -> Asked | None:
        """Ask for the status through one connection; None where there is nobody to ask."""
        raise NotImplementedError

    def pids(self) -> set[int]:
        """Of everything that is there beside the services."""
        light = set(self.light_pids())
        return {pid for pid in machine.family(self.roots()) - light if machine.lives(pid)}

    def roots(self) -> list[int]:
        """The supervisor's own processes, of which the others descend."""
        return []

    def kill_supervisor(self) -> None:
        """Kill -9 the supervisor, and wait until it is gone."""
        ends = machine.Ends(self.roots())
        for pid in self.roots():
            os.kill(pid, signal.SIGKILL)
        ends.wait()

    def supervisor(self) -> set[int]:
        """Of the supervisor alone."""
        return self.pids()

    def managed_after(self) -> Managed | None:
        """Wait until a supervisor that was started again manages all services; None: it never will."""
        return None

    # -- what is the same for all --------------------------------------------------------------------------------------

    def light_pids(self) -> list[int]:
        """Of the services, the extra one included, that were started since the contender began."""
        return [start.pid for start in self.stage.starts.since(self.began) if machine.lives(start.pid)]


class Spawned(Contender):
    """A supervisor that is a child of ours."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self, *command: str) -> None:
        """Start it; what it says goes to a file."""
        with self.stage.root.joinpath(f"{self.name}.out").open("ab") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def roots(self) -> list[int]:
        return [self._process.pid] if self._process else []

    def end(self) -> None:
        if self._process:
            self._process.kill()  # circusd without active watchers does not end on TERM
            self._process.wait()

    def kill_supervisor(self) -> None:
        super().kill_supervisor()
        if self._process:
            self._process.wait()


class BareLoop(Contender):
    """posix_spawn, kill and wait, and nothing else: what all ratios are against."""

    name = "bare loop"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._living: dict[int, Service] = {}

    def start(self) -> None:
        for service in self.stage.services:
            self._spawn(service)

    def _spawn(self, service: Service) -> None:
        command = self.stage.command(service)
        self._living[os.posix_spawn(command[0], command, {})] = service

    def stop_all(self) -> None:
        for pid in self._living:
            os.kill(pid, signal.SIGTERM)

    def end(self) -> None:
        for pid in self._living:
            os.waitpid(pid, 0)
        self._living.clear()

    def add_by_hand(self) -> None:
        self._spawn(self.stage.extra)

    def remove(self) -> None:
        for pid in [pid for pid, service in self._living.items() if service == self.stage.extra]:
            self._end(pid)

    def kill(self, service: Service) -> None:
        pid = next(pid for pid, living in self._living.items() if living == service)
        self._end(pid)
        self._spawn(service)

    def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        del self._living[pid]

    def status_command(self) -> list[str]:
        return [str(self.stage.light)]

    def ask(self, times: int) -> None:
        """There is nobody."""
        _ = times
