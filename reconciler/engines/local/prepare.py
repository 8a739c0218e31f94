"""Begin what takes its time by itself: the fork server of keepers comes up on another processor."""

from __future__ import annotations

from reconciler.engines.local.processes import spawn


def prepare() -> None:
    """Start the fork server. The engine, made later in this process, uses it."""
    spawn.fork_server.prepare()
