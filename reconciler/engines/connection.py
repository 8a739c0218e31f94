"""How a service is spoken to: what an engine gives to a frontend, and a bridge to its tools. Light: bridges load it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a service is spoken to."""

    url: str
    """Without a path."""
    secret: str = field(repr=False)
    """The agent's password, or the bridge's token; empty where it cannot be read."""
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """Every secret of the project: what no answer to a client may contain."""
    proof: Path | None = None
    """The folder by which a client proves that the listener is this service; None: the network does that."""
    repo: Path | None = None
    """The clone, where that is a folder of this machine."""
