"""Who listens on a port of this machine, for people.

Belongs here: a name for a listener, ours or not. Does not belong here: the proof that one is ours (`listener`), picking
ports (`ports`), or whether the listener works (`health`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psutil

from reconciler.engines.local import ports
from reconciler.engines.local.processes import listener

if TYPE_CHECKING:
    from pathlib import Path


def listens(run_dir: Path, service: str, port: int) -> bool:
    """Whether it is a process of this service."""
    return listener.find(run_dir, service, port) is not None


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
