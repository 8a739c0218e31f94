"""A run record without a keeper, for tests that start a service themselves: its leader is the process they name.

A run under a real keeper is in `bench`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from reconciler.engines.local.keeper import identity

if TYPE_CHECKING:
    from pathlib import Path


def record_leader(run_dir: Path, pid: int | None = None, service: str = "agent", port: int = 0) -> Path:
    """Record a process, ourselves unless named, as the leader of a service's run; return the run folder.

    Before Linux 6.9 a process is also known by the run's marker: the variable PATH, which every process here has.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    who = identity.identify(os.getpid() if pid is None else pid)
    record = identity.nobodys_run() | {
        "run_id": f"run-of-{who['pid']}",
        "marker": f"PATH={os.environ['PATH']}",
        "leader": who,
        "keeper": who,
        "port": port,
        "started": time.monotonic(),
        "started_wall": time.time(),
    }
    identity.write_record(identity.RunFiles(str(run_dir), service).run, record, durable=False)
    return run_dir
