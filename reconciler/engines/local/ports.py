"""Picking a free port on 127.0.0.1."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from reconciler.core.port_rules import UNUSABLE_PORTS

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


def pick(low: int, high: int, taken: AbstractSet[int]) -> int | None:
    """The first port in the range that nobody keeps and nobody listens on; None when there is none."""
    usable = (port for port in range(low, high + 1) if port not in taken and port not in UNUSABLE_PORTS)
    return next((port for port in usable if is_free(port)), None)


def is_free(port: int) -> bool:
    """Whether it could be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
