"""The rows of the table and what goes into them: what is wanted of each, how much is measured, the figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Row:
    """One kind of line; there is a line for each N it is measured at."""

    key: str
    title: str
    unit: str = "ms"
    want: float | None = None
    """At most so much, with N = 100, or whatever N where it is measured at one N only."""
    want_one: float | None = None
    """With N = 1."""
    once: bool = False
    """Measured at one N only."""
    least: bool = False
    """`want` is what it must at least be."""

    def wanted(self, count: int) -> float | None:
        """What ours is wanted to be."""
        if self.once:
            return self.want
        return {1: self.want_one, 100: self.want}.get(count)


CONVERGE: Final = Row("converge", "converge from nothing", want=400, want_one=100)
HAND: Final = Row("add-hand", "add one by hand: file saved -> started", want=115)
TOOL: Final = Row("add-tool", "add one by its tool, from another process -> started", want=90)
MCP: Final = Row("add-mcp", "add one by its MCP tool, in the controller's process -> started", want=25)
KILL: Final = Row("restart", "kill -9 -> replacement started", want=6)
STOP: Final = Row("stop", "stop all", want=125)
STOP_TOOL: Final = Row("stop-tool", "stop all, one tool call after the other")
STATUS: Final = Row("status-cli", "status, CLI as a whole process", want=100)
ASK: Final = Row("status-client", "status in a running client (ours: MCP)", want=5)
IDLE: Final = Row("idle", "idle CPU, no probes", "s/min", 0.08, once=True)
PROBES: Final = Row("idle-probes", "idle CPU, liveness probes every 10 s", "s/min", 0.6, once=True)
MEMORY: Final = Row("memory", "memory of all but the services (PSS)", "MB", 160)
ALONE: Final = Row("memory-supervisor", "memory of the supervisor alone (PSS)", "MB", 60)
ADOPTED: Final = Row("killed-adopted", "supervisor killed, started: adopted", "of N", 10, once=True, least=True)
COPIES: Final = Row("killed-copies", "  extra copies", "", 0, once=True)
FAILED: Final = Row("killed-failed", "  failed duplicate starts", "", 0, once=True)
MANAGED: Final = Row("killed-managed", "  all managed again after its start-up", want=50, once=True)
MANAGED_ALL: Final = Row("killed-managed-exec", "  all managed again after its exec", once=True)
RESYNC: Final = Row("resync", "no-op resync of the spec files, CPU", want=100, once=True)
READY: Final = Row("ready", "OpenCode Ready after its first true answer", want=300, once=True)

ROWS: Final = (
    *(CONVERGE, HAND, TOOL, MCP, KILL, STOP, STOP_TOOL, STATUS, ASK, IDLE, PROBES, MEMORY, ALONE),
    *(ADOPTED, COPIES, FAILED, MANAGED, MANAGED_ALL),
    *(RESYNC, READY),
)
BASE: Final = "bare loop"
CONTENDERS: Final = (BASE, "supervisord", "circus", "pm2", "ours")


@dataclass(frozen=True)
class Effort:
    """How much is done."""

    counts: tuple[int, ...] = (1, 10, 100)
    rounds: int = 3
    kills: int = 5
    asks: int = 20
    statuses: int = 5
    adds: int = 3
    idle: float = 60.0
    """Seconds of watching somebody do nothing: whatever of ours comes round comes round in them."""
    killed: int = 10
    """N of the rows about a killed supervisor."""
    window: float = 15.0
    """Seconds after it was started again in which duplicate starts are counted."""
    resynced: int = 1000
    """N of the rows about a resync."""
    resync: float = 30.0
    readies: int = 5
    """Starts of the real OpenCode."""


QUICK: Final = Effort((2,), 1, 1, 5, 1, 1, idle=1.0, killed=2, window=2.0, resynced=10, resync=3.0, readies=1)


@dataclass
class Figures:
    """What is asked for, and what came out."""

    effort: Effort
    only: str = ""
    found: dict[tuple[Row, int], dict[str, list[float]]] = field(default_factory=dict)
    """By row and N, then by contender."""
    notes: list[str] = field(default_factory=list)
    """What somebody must know who reads the figures."""

    def wants(self, *rows: Row) -> bool:
        """Whether one of these rows is asked for."""
        return not self.only or any(row.key.startswith(self.only) for row in rows)

    def add(self, row: Row, count: int, contender: str, *values: float) -> None:
        """Figures of one round."""
        if self.wants(row) and values:
            self.found.setdefault((row, count), {}).setdefault(contender, []).extend(values)
