"""Statuses as text for people, pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def render_table(projects: Sequence[Mapping[str, Any]]) -> str:
    """All projects, a line each."""
    head = ["PROJECT", "DESIRED", "ACTUAL", "AGENT", "PID", "BRIDGE", "PID", "AGE", "REASON"]
    rows = [
        head,
        *(
            [p["name"], p["desired"], p["actual"], *_s(p["agent"]), *_s(p["bridge"]), _age(p), p["reason"]]
            for p in projects
        ),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _s(service: Mapping[str, Any]) -> list[str]:
    return [service["url"] or "-", str(service["pid"] or "-")]


def _age(project: Mapping[str, Any]) -> str:
    return f"{time.time() - project['ready']['since']:.0f}s"
