"""Start or adopt a service: what the starter does until it is the service.

Standard library only, imports only the keeper's own parts.
"""
# pathlib would cost every keeper half a megabyte:
# ruff: noqa: PTH104, PTH115, PTH120

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import time

from reconciler.engines.local.keeper import identity, log_watch
from reconciler.engines.local.keeper.handover import RunHandle
from reconciler.engines.local.keeper.supervising import Supervisor
from reconciler.system import failpoint, name_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal
    from typing import NoReturn

    from reconciler.engines.local.keeper.identity import Record, RunFiles
    from reconciler.engines.local.keeper.supervising import Signals
else:
    import _signal as signal  # without its enumerations, which take their time

_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl
VICTIM = 500
"""Of `oom_score_adj`: as if it used half of the memory that it may use besides its own."""


# -- starting ----------------------------------------------------------------------------------------------------------


def read_job() -> Record:
    """Read the request from stdin.

    Raises:
        OSError: it is not whole.
    """
    text = b""
    while piece := os.read(0, 1 << 16):
        text += piece
    try:
        job: Record = json.loads(text)
    except ValueError:
        raise OSError(errno.EIO, "its job is not whole") from None
    return job


def start(place: RunFiles, job: Record, keeper: tuple[int, int], signals: Signals) -> RunHandle:
    """Prepare everything for a service that this process is to become, and record it.

    Args:
        place: the service's files.
        job: what is asked for.
        keeper: pid and pidfd of who will hold it.
        signals: of this process.

    Raises:
        Held: somebody else holds the service, its last run is not over, or the keeper was killed.
        OSError: the log or a record cannot be written.
    """
    locks = {place.keeper_lock: identity.take_lock(place.keeper_lock), place.lock: identity.take_lock(place.lock)}
    keeper_guard = take_guard(place.folder, place.keeper_guard, place.keeper_lock)
    settle(place, signals, locks)
    guard = take_guard(place.folder, place.guard, place.lock)
    open_log(job["log"])
    kept = RunHandle(place, run_record(job, keeper), locks, ancestor=True)
    kept.guards = [keeper_guard.detach(), guard.detach()]
    kept.hub = log_watch.find(2, os.path.dirname(job["log"]))
    kept.failure, kept.failed = os.pipe()
    failpoint.point("before-record")
    identity.write_record(place.run, kept.run)  # the last that can go wrong before it is handed over
    failpoint.point("after-record")
    return kept


def write_pid_file(run: Record) -> None:
    """Write the pid file, for people and for `identity.is_named`."""
    with contextlib.suppress(OSError):
        handle = os.open(f"{run['pid_file']}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(handle, b"%d\n" % run["leader"]["pid"])
        finally:
            os.close(handle)
        os.rename(f"{run['pid_file']}.tmp", run["pid_file"])


def take_guard(folder: str, part: str, lock: str) -> _socket.socket:
    """Take one of the service's abstract-name locks.

    Raises:
        Held: somebody else has it.
    """
    try:
        return name_lock.take(folder, part, lock)
    except name_lock.Taken:
        raise identity.Held("processes of its last run are left, though its lock file was deleted") from None


def settle(place: RunFiles, signals: Signals, locks: dict[str, int]) -> None:
    """Make sure that no process of the last run, whose locks are free, lives: not all processes inherit them.

    Raises:
        Held: it does.
    """
    run = identity.read_record(place.run)
    if not run or identity.finished(run, identity.read_record(place.exit)):
        return
    for who, needle in ((run["keeper"], place.folder), (run["leader"], run["marker"])):
        if (pidfd := identity.open_verified(who, needle)) is not None:
            os.close(pidfd)
            raise identity.Held(f"process {who['pid']} of its last run lives, though it lost its lock")
    Supervisor(RunHandle(place, run, locks, ancestor=False), signals).hold()
    if signals.stopping:
        raise identity.Held("it was asked to stop")


def become_subreaper() -> None:
    """Become the parent of every orphan among our descendants from now on."""
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")


def open_log(path: str) -> None:
    """Make the service's log our stderr: the child inherits it, and we cap it even when it is deleted."""
    log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    os.fchmod(log, 0o600)
    os.dup2(log, 2)
    os.close(log)


def become(job: Record, kept: RunHandle) -> NoReturn:
    """Become the service. Its keeper holds what it must not inherit."""
    try:
        os.setsid()
        for number in signal.valid_signals():  # an exec resets those that are handled, and leaves out what is ignored
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        for mark in (kept.locks[kept.place.lock], kept.guards[-1]):
            os.set_inheritable(mark, True)
        join_limits(job.get("limits", {}))
        os.chdir(job["cwd"])
        os.execvpe(job["argv"][0], job["argv"], job["env"])  # noqa: S606  never through a shell
    except (OSError, ValueError) as error:
        program = job["argv"][0]
        why = f"{error.strerror}: {error.filename or program}" if isinstance(error, OSError) else str(error)
        os.write(kept.failed, why.encode())
        os.write(2, f"opencode-manager: cannot run {program}: {why}\n".encode())
    finally:
        os._exit(127)


def join_limits(limits: Record) -> None:
    """Enter the control groups of this service, and let the kernel end it before others of its project.

    Its keeper stays out: who is to record how it ended, and to end what is left, must not end with it.

    Raises:
        OSError: one cannot be entered.
    """
    for folder in limits.get("groups", {}).values() if limits.get("join", True) else ():
        handle = os.open(f"{folder}/cgroup.procs", os.O_WRONLY)
        try:
            os.write(handle, b"0")
        finally:
            os.close(handle)
    if limits.get("victim"):
        handle = os.open("/proc/self/oom_score_adj", os.O_RDWR)
        try:
            os.write(handle, b"%d" % max(VICTIM, int(os.read(handle, 16))))
        finally:
            os.close(handle)


def problem(kept: RunHandle, signals: Signals) -> str:
    """Wait until a starter has become the service or failed; return why it failed, a clause, else nothing."""
    if kept.failure is None:
        return ""
    poll = select.poll()
    for handle in (kept.failure, signals.handle):
        poll.register(handle, select.POLLIN)
    text = b""
    while not signals.stopping:
        ready = [handle for handle, _ in poll.poll()]
        signals.drain()
        if kept.failure in ready:
            text = os.read(kept.failure, 4096)  # nothing when the pipe is closed, by the exec
            break
    os.close(kept.failure)
    return text.decode()


def run_record(job: Record, keeper: tuple[int, int]) -> Record:
    """Return the record of this run; never its environment or arguments, which may hold secrets."""
    kept = ("run_id", "marker", "digest", "port", "grace", "log", "pid_file", "confinement")
    return {
        **{key: job[key] for key in kept},
        "boot_id": identity.boot_id(),
        "started": time.clock_gettime(time.CLOCK_BOOTTIME),
        "started_wall": time.time(),
        "stopping": False,
        "limits": job.get("limits", {}),
        "log_from": os.fstat(2).st_size,
        "keeper": identity.identify_open(*keeper),
        "leader": identity.identify(os.getpid()),
    }


# -- adopting ----------------------------------------------------------------------------------------------------------


def adopt(place: RunFiles, keeper: tuple[int, int]) -> RunHandle:
    """Take over from a keeper that was killed: the leader stays who it is; without one, its leftovers are ended.

    Raises:
        Held: another keeper holds it.
        OSError: a record cannot be written.
    """
    locks = {place.keeper_lock: identity.take_lock(place.keeper_lock)}
    guard = take_guard(place.folder, place.keeper_guard, place.keeper_lock)
    run = identity.read_record(place.run)
    leader = None
    if run and not identity.finished(run, identity.read_record(place.exit)):
        leader = identity.open_verified(run["leader"], run["marker"])
        run["keeper"] = identity.identify_open(*keeper)
        identity.write_record(place.run, run)
        # The keeper before us may have died before it wrote it. One that has not become the service yet has no marker.
        if (
            leader is not None
            and not identity.is_named(run)
            and identity.has_variable(run["leader"]["pid"], run["marker"])
        ):
            write_pid_file(run)
        with contextlib.suppress(OSError):  # the service goes on without its log being capped
            open_log(log_of(run))
    else:
        run = identity.nobodys_run()
    failpoint.point("after-adoption")
    kept = RunHandle(place, run, locks, ancestor=False)
    kept.leader, kept.guards = leader, [guard.detach()]
    kept.hub = log_watch.find(2, os.path.dirname(run["log"]))
    return kept


def log_of(run: Record) -> str:
    """Return a path to the adopted service's log that works even when it was deleted, or renamed by a log rotator."""
    theirs = f"/proc/{run['leader']['pid']}/fd/2"
    with contextlib.suppress(OSError):
        if os.readlink(theirs).startswith(os.path.realpath(run["log"])):
            return theirs
    return str(run["log"])
