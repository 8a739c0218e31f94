"""Who listens on a port of this machine.

Belongs here: the proof that a listener is a process of a service, and a name for one that is not.
Does not belong here: picking ports (`ports`), or whether the listener works (`health`).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from reconciler.local import activity, ports, proofs, sockets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Listener:
    """The proof that whoever answers on 127.0.0.1:port is, for certain, a process of a service."""

    run_id: str
    port: int
    held: Mapping[str, str]
    """Where its processes have the listening sockets open, as links in /proc, and what they lead to."""

    def still(self, listening: Mapping[int, set[int]]) -> bool:
        """Whether it holds on, if these sockets listen. It takes a fifth of the time to find it.

        A socket is never another one while it is open, and who has it open has it from the one that was proved.
        """
        try:
            same = all(os.readlink(link) == target for link, target in self.held.items())  # noqa: PTH115
        except OSError:
            return False
        return same and _links(listening.get(self.port, set())) == set(self.held.values())


def find(run_dir: Path, service: str, port: int) -> Listener | None:
    """Who listens, if that is a process of this service."""
    wanted = _links(sockets.listening(port).get(port, set()))
    if not wanted:
        return None
    run = proofs.read_record(proofs.Place(proofs.real_folder(str(run_dir)), service).run)
    if not run or run["boot_id"] != proofs.boot_id():
        return None
    leader = proofs.open_proved(run["leader"], run["marker"])
    if leader is None:
        return None
    held: dict[str, str] = {}
    try:
        for pid in _family(run["leader"]["pid"]):
            held |= {link: target for link, target in _open_files(pid) if target in wanted}
            if wanted == set(held.values()):
                # If the leader has ended, the pids may have been strangers'.
                return None if proofs.has_ended(leader) else Listener(run["run_id"], port, held)
    finally:
        os.close(leader)
    return None


def listens(run_dir: Path, service: str, port: int) -> bool:
    """Whether it is a process of this service."""
    return find(run_dir, service, port) is not None


def _links(inodes: set[int]) -> set[str]:
    """What they are as links in /proc."""
    return {f"socket:[{inode}]" for inode in inodes}


def port_holder(port: int) -> str:
    """Who keeps this port of 127.0.0.1 from being used, for people: `pid 123 (nginx)`; empty when it is free."""
    if ports.is_free(port):
        return ""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listening and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "a process that we may not look at"


def _family(leader: int) -> Iterator[int]:
    """The leader, then, only if asked for more, its descendants."""
    yield leader
    yield from activity.family(leader) - {leader}


def _open_files(pid: int) -> Iterator[tuple[str, str]]:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):  # noqa: PTH208  pathlib takes twice as long
            with contextlib.suppress(OSError):
                yield f"{folder}/{entry}", os.readlink(f"{folder}/{entry}")  # noqa: PTH115
