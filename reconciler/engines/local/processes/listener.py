"""Prove that the listener on a port of this machine is a process of a service, before a secret is sent to it.

The order: prove, connect, check that the proof still holds, and only then send. Nobody else can listen on a port while
a socket listens there, so the one that listened before and after was the one connected to. (Only sockets of one user
that all set SO_REUSEPORT can share a port, and that user can read the `.env` anyway.) Standard library and `identity`
only: the bridge loads it as well as the controller.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import sockets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class NotProvedError(ConnectionError):
    """The listener is not proved to be ours, so nothing is sent. The text is a clause that says so."""


@dataclass(frozen=True)
class Listener:
    """The proof that the listener on 127.0.0.1:port is a process of a service."""

    run_id: str
    port: int
    held: Mapping[str, str]
    """Where its processes have the listening sockets open, as links in /proc, and what they lead to."""

    @property
    def pids(self) -> set[int]:
        """The processes that have the listening sockets open."""
        return {int(link.split("/")[2]) for link in self.held}

    def still(self, listening: Mapping[int, set[int]]) -> bool:
        """Tell whether the proof still holds, if these sockets listen. Takes a fifth of the time to find it.

        A socket is never another one while it is open, and every process that has it open got it from the proved one.
        """
        try:
            same = all(os.readlink(link) == target for link, target in self.held.items())  # noqa: PTH115
        except OSError:
            return False
        return same and _links(listening.get(self.port, set())) == set(self.held.values())

    def holds(self) -> bool:
        """Tell whether the proof holds now; about 0.1 ms."""
        return self.still(sockets.listening(self.port))

    def check(self) -> None:
        """Raise NotProvedError unless the proof holds now: call it when connected, before anything is sent."""
        if not self.holds():
            raise NotProvedError(f"port {self.port} changed hands; nothing was sent")


def find(run_dir: Path, service: str, port: int) -> Listener | None:
    """Return who listens, if that is a process of this service."""
    wanted = _links(sockets.listening(port).get(port, set()))
    if not wanted:
        return None
    run = identity.read_record(identity.RunFiles(identity.real_folder(str(run_dir)), service).run)
    if not run or run["boot_id"] != identity.boot_id():
        return None
    leader = identity.open_verified(run["leader"], run["marker"])
    if leader is None:
        return None
    held: dict[str, str] = {}
    try:
        for pid in _members(run["leader"]["pid"]):
            held |= {link: target for link, target in _open_files(pid) if target in wanted}
            if wanted == set(held.values()):
                # If the leader has ended, the pids may have been strangers'.
                return None if identity.has_ended(leader) else Listener(run["run_id"], port, held)
    finally:
        os.close(leader)
    return None


def proved(run_dir: Path, service: str, port: int) -> Listener:
    """Return the proof, or fail.

    Raises:
        NotProvedError: nobody listens, or somebody else does.
    """
    found = find(run_dir, service, port)
    if found is None:
        who = "another process listens" if sockets.listening(port).get(port) else "nobody listens"
        raise NotProvedError(f"{who} on its port {port}; nothing was sent")
    return found


def family(*leaders: int) -> set[int]:
    """Return these processes and their descendants."""
    parents = {pid: identity.Stat(pid).parent for pid in identity.pids()}
    found = set(leaders)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _links(inodes: set[int]) -> set[str]:
    """Return what they are as links in /proc."""
    return {f"socket:[{inode}]" for inode in inodes}


def _members(leader: int) -> Iterator[int]:
    """Yield the leader, then, only if asked for more, its descendants."""
    yield leader
    yield from family(leader) - {leader}


def _open_files(pid: int) -> Iterator[tuple[str, str]]:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):  # noqa: PTH208  pathlib takes twice as long
            with contextlib.suppress(OSError):
                yield f"{folder}/{entry}", os.readlink(f"{folder}/{entry}")  # noqa: PTH115
