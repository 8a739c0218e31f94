"""Start and observe keepers, and ask them to stop: the controller's side of its services.

Only keepers are started and only keepers get a signal; they supervise their service. Nothing is remembered: all facts
come from locks, records and /proc, each time again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.observed import Exit, Now, Phase
from reconciler.engines.local.facts import LocalService
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.keeper.identity import RunFiles
from reconciler.engines.local.limits import groups, overrun
from reconciler.engines.local.limits.means import size
from reconciler.engines.local.processes import exit_causes, listener, spawn
from reconciler.engines.local.processes.exit_watch import ExitWatch
from reconciler.system import name_lock
from reconciler.system.aio import finish_before_cancel, run_in_thread_shielded
from reconciler.system.tcp_ports import holder as port_holder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ExitWatch", "KeeperError", "Launch", "adopt", "listens", "now", "observe", "port_holder", "start", "stop"]

MARKER: Final = "OCM_SANDBOX"
"""A variable of every process of a run: PROJECT:RUN_ID."""
_ATTEMPTS: Final = 4
"""Steps of one stop: adopt, end, and once more if the keeper is killed meanwhile."""


class KeeperError(OSError):
    """A keeper failed; `strerror` is a clause that says why."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Everything a keeper needs to run a service."""

    argv: tuple[str, ...]
    """Public: everybody can read it."""
    env: Mapping[str, str] = field(repr=False)
    """The whole environment, secrets included; it travels by a pipe and is recorded nowhere."""
    cwd: Path
    log: Path
    pid_file: Path
    digest: str
    port: int
    grace: float
    """Seconds between the first TERM and KILL."""
    project: str
    groups: Mapping[str, str] = field(default_factory=dict)
    """Folders of the control groups that it runs in, by controller."""
    slice_name: str = ""
    """Of systemd, where the arguments put it into those groups."""
    victim: bool = False
    """Whether it is ended before others where memory runs out."""
    confinement: str = "none"
    """By what the arguments confine the service: with bubblewrap, the leader is the one who holds it from outside."""


# -- clock -------------------------------------------------------------------------------------------------------------


def now() -> Now:
    """Return the clock of this machine."""
    return Now(boot=time.clock_gettime(time.CLOCK_BOOTTIME), boot_id=identity.boot_id(), wall=time.time())


# -- seeing ------------------------------------------------------------------------------------------------------------


def observe(run_dir: Path, service: str, now: Now) -> LocalService:
    """Observe a service. Reads only; about 0.2 ms."""
    place = _place(run_dir, service)
    run = identity.read_record(place.run)
    kept, left = identity.lock_held(place.keeper_lock), identity.lock_held(place.lock)
    if not run:
        # A keeper that is only starting, or whose record is lost: never a reason for a second copy.
        guards = ((place.keeper_guard, place.keeper_lock), (place.guard, place.lock))
        left = left or any(name_lock.taken(place.folder, *guard) for guard in guards)
        return LocalService(phase=Phase.ENDING if kept else Phase.ORPHANED if left else Phase.NEVER)
    ours = run["boot_id"] == now.boot_id
    leader = ours and _lives(run["leader"], run["marker"])
    keeper = ours and _lives(run["keeper"], place.folder)
    ended = identity.read_record(place.exit)  # last: what is gone now has written all it ever will
    phase = _phase(leader=leader, kept=kept or keeper, stopping=run["stopping"])
    if phase is Phase.EXITED and (left or not identity.finished(run, ended)):
        phase = Phase.ORPHANED
    return LocalService(
        phase=phase,
        instance=run["run_id"],
        pid=run["leader"]["pid"] if leader else None,
        keeper_pid=run["keeper"]["pid"] if keeper else None,
        port=run["port"],
        digest=run["digest"],
        started=run["started"],
        started_wall=run["started_wall"],
        confinement=run.get("confinement", "none") if leader else "",  # runs of older versions were not
        groups=tuple(groups_of(run).items()),
        slice_name=slice_of(run),
        exit=_exit(place, run, ended, over=phase is Phase.EXITED),
    )


def _phase(*, leader: bool, kept: bool, stopping: bool) -> Phase:
    if kept:
        return Phase.RUNNING if leader and not stopping else Phase.ENDING
    return Phase.ORPHANED if leader else Phase.EXITED


def _exit(place: RunFiles, run: dict[str, Any], ended: dict[str, Any], *, over: bool) -> Exit | None:
    """Return how the run ended; with an unknown cause when it is over and nobody recorded it."""
    try:
        if ended.get("run_id") == run["run_id"]:
            killed = ended["signal"] == signal.SIGKILL
            excess = overrun.read(place.folder, place.service, run["run_id"]) if killed else None
            return Exit(
                run_id=run["run_id"],
                code=_whole(ended["code"]),
                signal=_whole(ended["signal"]),
                asked=ended["asked"] is True,
                at=float(ended["at"]),
                boot_id=ended["boot_id"],
                at_wall=_time(ended.get("at_wall")),
                stop_wall=_time(ended.get("stop_wall")),  # runs of older versions did not record it
                lived=float(ended["lived"]),
                cause=excess.cause if excess else _cause(run, ended),
                # Runs of older versions did not look.
                out_of_memory=excess.memory if excess else ended.get("out_of_memory") is True,
            )
    except (LookupError, TypeError, ValueError):
        pass  # a record that is not whole says nothing
    if not over:
        return None
    return Exit(
        run_id=run["run_id"],
        boot_id=run["boot_id"],
        asked=run["stopping"] or not identity.began(run, place.exit),
        stop_wall=_time(run.get("stop_wall")),
    )


def _cause(run: dict[str, Any], ended: dict[str, Any]) -> str:
    if ended.get("out_of_memory") is True:
        limit = groups.memory_limit(groups_of(run))
        return f"out of memory at its limit of {size(limit)}" if limit else "out of memory"
    if not ended["code"] or ended["asked"]:
        return ""
    return exit_causes.of_log(run["log"], _whole(run.get("log_from")) or 0)  # runs of older versions did not record it


def groups_of(run: dict[str, Any]) -> dict[str, str]:
    """Return the folders of the control groups that a run was started in, by controller."""
    limits = run.get("limits")  # runs of older versions had none
    found = limits.get("groups") if isinstance(limits, dict) else None
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: folder for key, folder in pairs if isinstance(folder, str) and folder.startswith("/")}


def slice_of(run: dict[str, Any]) -> str:
    """Return the slice of systemd that a run was started in; empty where it was in none."""
    limits = run.get("limits")
    found = limits.get("slice") if isinstance(limits, dict) else None
    return found if isinstance(found, str) else ""


def _whole(number: object) -> int | None:
    return number if isinstance(number, int) else None


def _time(number: object) -> float | None:
    return number if isinstance(number, float) else None


def _place(run_dir: Path, service: str) -> RunFiles:
    return RunFiles(identity.real_folder(str(run_dir)), service)


def _lives(who: dict[str, Any], needle: str) -> bool:
    pidfd = identity.open_verified(who, needle)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


# -- doing -------------------------------------------------------------------------------------------------------------


async def start(run_dir: Path, service: str, launch: Launch) -> str:
    """Start the service under a keeper; return when its run record is durable and it runs.

    A cancellation does not undo it: it is raised when the keeper has answered, so that `observe` sees the result.

    Returns:
        The id of the run.

    Raises:
        KeeperError: it could not be started, or runs already; nothing of the attempt is left.
    """
    run_id = secrets.token_hex(8)
    marker = f"{launch.project}:{run_id}"
    job = {
        "run_id": run_id,
        "marker": f"{MARKER}={marker}",
        "argv": launch.argv,
        "env": {**launch.env, MARKER: marker},
        "cwd": str(launch.cwd),
        "log": str(launch.log),
        "pid_file": str(launch.pid_file),
        "digest": launch.digest,
        "port": launch.port,
        "grace": float(launch.grace),
        "confinement": launch.confinement,
        "limits": {
            "groups": dict(launch.groups),
            "join": not launch.slice_name,
            "slice": launch.slice_name,
            "victim": launch.victim,
        },
    }
    await _ask([_place(run_dir, service).folder, service], json.dumps(job).encode())
    return run_id


async def adopt(run_dir: Path, service: str) -> None:
    """Give the remains of the service a new keeper; do nothing when it has one.

    Raises:
        KeeperError: a record cannot be written.
    """
    try:
        await _ask([_place(run_dir, service).folder, service, "--adopt"], b"")
    except KeeperError as error:
        if error.errno != errno.EBUSY:
            raise


async def _ask(arguments: list[str], job: bytes) -> None:
    try:
        text = await finish_before_cancel(spawn.ask_keeper(arguments, job))
    except TimeoutError as error:
        raise KeeperError(errno.ETIMEDOUT, str(error)) from None
    if text.startswith("held: "):
        raise KeeperError(errno.EBUSY, text.removeprefix("held: "))
    if text != "started":
        raise KeeperError(errno.EIO, text or "its keeper died before it answered")


def listens(run_dir: Path, service: str, port: int) -> bool:
    """Return whether a process of this service listens there."""
    return listener.find(run_dir, service, port) is not None


async def stop(run_dir: Path, service: str, *, timeout: float) -> bool:  # noqa: ASYNC109  the keeper goes on after it
    """Stop the service's whole tree.

    Args:
        run_dir: the project's run folder.
        service: name of the service.
        timeout: seconds to wait for it; its keeper goes on after that.

    Returns:
        Whether nothing is left.

    Raises:
        KeeperError: there is no keeper and none can be started.
    """
    deadline = time.monotonic() + timeout
    for _ in range(_ATTEMPTS):
        keeper = await _open_keeper(run_dir, service)
        if keeper is not None:
            if not await _end(keeper, deadline - time.monotonic()):
                return False
        elif not observe(run_dir, service, now()).alive:
            return True
        else:
            await adopt(run_dir, service)
    return not observe(run_dir, service, now()).alive


async def _end(keeper: int, limit: float) -> bool:
    """Ask a keeper to end and wait until it has, at most this many seconds."""
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(keeper, signal.SIGTERM)
        async with asyncio.timeout(limit):
            await spawn.readable(keeper)
    except TimeoutError:
        return False
    finally:
        os.close(keeper)
    return True


async def _open_keeper(run_dir: Path, service: str) -> int | None:
    """Open a pidfd of the service's keeper: the recorded one, else one whose record is missing, proved by its lock."""
    place = _place(run_dir, service)
    run = identity.read_record(place.run)
    ours = bool(run) and run["boot_id"] == identity.boot_id()
    if ours and (keeper := identity.open_verified(run["keeper"], place.folder)) is not None:
        return keeper
    if run and not identity.lock_held(place.keeper_lock):
        return None
    found: list[int] = []
    try:
        await run_in_thread_shielded(_find_keeper, place, found)
    except asyncio.CancelledError:
        for pidfd in found:
            os.close(pidfd)
        raise
    return found[0] if found else None


def _find_keeper(place: RunFiles, found: list[int]) -> None:
    """Search all processes for the one that holds a keeper's lock, and add a pidfd of it. Blocking."""
    for pid in identity.pids():  # also one whose folder was deleted
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            if identity.holds_lock(pid, place.keeper_lock) and not identity.has_ended(pidfd):
                found.append(pidfd)
                return
            os.close(pidfd)
