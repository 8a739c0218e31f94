"""Picking a free port on 127.0.0.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.core.port_rules import UNUSABLE_PORTS
from reconciler.system.tcp_ports import is_free

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


__all__ = ["is_free", "pick"]


def pick(low: int, high: int, taken: AbstractSet[int]) -> int | None:
    """Return the first port in the range that nobody keeps and nobody listens on; None when there is none."""
    usable = (port for port in range(low, high + 1) if port not in taken and port not in UNUSABLE_PORTS)
    return next((port for port in usable if is_free(port)), None)
