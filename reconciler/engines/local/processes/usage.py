"""Measure what the processes of a service use. Loads psutil, which takes 25 ms: loaded only by who asks."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import psutil

from reconciler.engines.base import Usage
from reconciler.engines.local.keeper import identity

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def usage(run_dir: Path, service: str, *, pss: bool = False) -> Usage | None:
    """Return what the whole tree of a service uses; None where its leader is not proved to live.

    Args:
        run_dir: where the run is recorded.
        service: its name.
        pss: whether to measure that too, which takes the kernel up to some milliseconds a process.
    """
    place = identity.RunFiles(identity.real_folder(str(run_dir)), service)
    run = identity.read_record(place.run)
    if not run or run["boot_id"] != identity.boot_id():
        return None
    leader = identity.open_verified(run["leader"], run["marker"])
    if leader is None:
        return None
    try:
        found = _sum(
            _tree(run, place.folder), None if run["keeper"] == run["leader"] else run["keeper"]["pid"], pss=pss
        )
        return None if identity.has_ended(leader) else found  # then its pid may be a stranger's
    finally:
        os.close(leader)


def _tree(run: identity.Record, folder: str) -> Iterable[psutil.Process]:
    """Return the leader and all that it or its keeper, which adopts orphans, has for descendants; and the keeper."""
    heads = [run["leader"]["pid"]]
    keeper = identity.open_verified(run["keeper"], folder)
    if keeper is not None:
        os.close(keeper)
        heads.append(run["keeper"]["pid"])
    found: dict[int, psutil.Process] = {}
    for pid in heads:
        with contextlib.suppress(psutil.Error):
            head = psutil.Process(pid)
            found |= {one.pid: one for one in (head, *head.children(recursive=True))}
    return found.values()


def _sum(tree: Iterable[psutil.Process], keeper: int | None, *, pss: bool) -> Usage:
    """Add up; of the keeper only the time of what ended below it."""
    memory, parts, tasks, cpu = 0, 0, 0, 0.0
    for process in tree:
        with contextlib.suppress(psutil.Error), process.oneshot():  # one that has just ended uses nothing any more
            times = process.cpu_times()
            ended = times.children_user + times.children_system
            if process.pid == keeper:
                cpu += ended
                continue
            rss, threads = process.memory_info().rss, process.num_threads()
            parts += process.memory_full_info().pss if pss else 0
            cpu += times.user + times.system + ended
            memory, tasks = memory + rss, tasks + threads
    return Usage(memory=memory, cpu=cpu, tasks=tasks, pss=parts if pss else None)
