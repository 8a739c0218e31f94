"""What knows one kind of agent; each kind is a package, and a line in `core.kinds`.

Where an agent runs is the business of `engines`. A package has the modules `access` with `ACCESS`, which every bridge
loads; `toolset`, for processes that serve MCP; and `driver` with `DRIVER`, for engines.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, cast

from reconciler.core.kinds import DRIVERS

if TYPE_CHECKING:
    from reconciler.agents.base import Access, Driver, Toolset

_drivers: Final[dict[str, Driver]] = {}


def access_to(package: str) -> Access:
    """Return how clients reach the agents that a package knows."""
    found: Access = importlib.import_module(f"{package}.access").ACCESS
    return found


def toolset(access: Access) -> Toolset:
    """Return the tools of a kind of agent. Heavy: only for a process that serves MCP."""
    return cast("Toolset", importlib.import_module(f"{access.package}.toolset"))


def driver(kind: str) -> Driver:
    """Return the driver of a registered kind, imported at the first call. Raises KeyError."""
    package = DRIVERS[kind].package
    if package not in _drivers:
        found: Driver = importlib.import_module(f"{package}.driver").DRIVER
        _drivers[package] = found
    return _drivers[package]


def last_words() -> tuple[tuple[str, str], ...]:
    """Return the phrases by which the agents in use say why they end, with the causes."""
    return tuple(phrase for one in _drivers.values() for phrase in one.last_words)
