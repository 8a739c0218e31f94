"""Which ports services may have: default ranges, ports that no client reaches, and the refusals. Pure."""

from __future__ import annotations

from typing import Final

PORTS: Final = {"agent": (4100, 4199), "bridge": (5100, 5199)}
"""By service: the range that ports are picked from, and fixed ones must lie in, unless a setting moves it."""
LOWEST_PORT: Final = 1024
HIGHEST_PORT: Final = 65535
UNUSABLE_PORTS: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)
"""The fetch standard's "bad ports" that a range can have: browsers and Node refuse them."""


def check_port(port: int, service: str) -> int:
    """Return the port if this service could ever have it, else raise ValueError. The range in force comes later."""
    if not LOWEST_PORT <= port <= HIGHEST_PORT:
        raise ValueError(
            f"{refused_port(port, PORTS[service])}, or from where {range_variable(service)} moves that range"
        )
    if port in UNUSABLE_PORTS:
        raise ValueError(f"cannot use port {port}: browsers and Node refuse it")
    return port


def refused_port(port: int, within: tuple[int, int]) -> str:
    """Return the sentence about a port outside of a range."""
    return f"cannot use port {port}: give one from {within[0]} to {within[1]}"


def range_variable(service: str) -> str:
    """Return the environment variable that moves the range of this service's ports."""
    return f"OPENCODE_MANAGER_{service.upper()}_PORTS"
