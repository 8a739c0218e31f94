"""Who listens on a port of this machine.

Belongs here: the proof that a listener is a process of a service, and a name for one that is not.
Does not belong here: picking ports (`ports`), or whether the listener works (`health`).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import psutil

from reconciler.local import activity, ports, proofs, sockets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def listens(run_dir: Path, service: str, port: int) -> bool:
    """Whether whoever answers on 127.0.0.1:port is, for certain, a process of this service."""
    wanted = {f"socket:[{inode}]" for inode in sockets.listening(port)}
    if not wanted:
        return False
    run = proofs.read_record(proofs.Place(proofs.real_folder(str(run_dir)), service).run)
    if not run or run["boot_id"] != proofs.boot_id():
        return False
    leader = proofs.open_proved(run["leader"], run["marker"])
    if leader is None:
        return False
    try:
        for pid in _family(run["leader"]["pid"]):
            wanted -= _sockets(pid)
            if not wanted:
                return not proofs.has_ended(leader)  # else the pids may have been strangers'
    finally:
        os.close(leader)
    return False


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


def _sockets(pid: int) -> set[str]:
    found, folder = set(), f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):  # noqa: PTH208  before every probe: pathlib takes twice as long
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"{folder}/{entry}"))  # noqa: PTH115
    return found
