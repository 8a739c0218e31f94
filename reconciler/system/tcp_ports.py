"""Whether a port of 127.0.0.1 is free, and who has it, for people."""

from __future__ import annotations

import contextlib
import socket

import psutil


def is_free(port: int) -> bool:
    """Return whether it could be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Return who keeps it from being used: `pid 123 (nginx)`; empty when it is free. Walks over all processes."""
    if is_free(port):
        return ""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listening and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "a process that we may not look at"
