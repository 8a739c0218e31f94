"""Supervise a service until nothing of it is left: wait, stop, record how it ended, cap its log.

Everything is an event on one poll: signals through a wake-up pipe, exits through pidfds, deadlines as its timeout.
Standard library only, imports only the keeper's own parts.
"""
# pathlib would cost every keeper half a megabyte:
# ruff: noqa: PTH108, PTH112, PTH120

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import time

from reconciler.engines.local.keeper import identity, log_cap, log_watch, tree
from reconciler.engines.local.keeper.log_cap import LOG_LIMIT
from reconciler.engines.local.keeper.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from reconciler.engines.local.keeper.handover import RunHandle
    from reconciler.engines.local.keeper.identity import Record
    from reconciler.engines.local.keeper.log_watch import Watch
else:
    import _signal as signal  # without its enumerations, which cost every keeper a tenth of a megabyte

PATROL = 15.0
"""Seconds at most between checks of the log and of our own files, while only the log grows.

This is the net: a log that is too large is noticed at once by `log_watch`.
"""
SHORTEST = 0.05
"""Seconds at least between them, however fast the log grows."""
CALM_PATROL = 60.0
"""The same while it does not grow: with 100 services one check a minute costs 0.02 s of processor time (measured)."""
LINGER = 2.0
"""Seconds that what the leader left behind gets between TERM and KILL."""
ALONE = 0.2
"""Seconds the leader has to end its own in its own way, before all of them get a signal."""
AGAIN = 0.1
"""Seconds until the rest is killed again; doubles up to SLOWEST for what does not die."""
SLOWEST = 5.0
_ENDINGS: frozenset[int] = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_SIGNALS = 64
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3


class Signals:
    """Signals as bytes on a pipe, so that they can be polled together with everything else."""

    def __init__(self) -> None:
        self.stopping = False
        """Whether one of the ending signals came, ever."""
        self.handle, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (*_ENDINGS, signal.SIGCHLD):
            signal.signal(number, _noted)

    def let_go(self) -> bool:
        """Restore the default actions; return whether a terminating signal came until now."""
        for number in (*_ENDINGS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        self.drain()
        return self.stopping

    def close(self) -> None:
        """Stop using the pipe."""
        self.let_go()
        os.close(self.handle)
        os.close(self._write)

    def drain(self) -> None:
        """Empty the pipe and note what came."""
        with contextlib.suppress(BlockingIOError):
            self.stopping |= not _ENDINGS.isdisjoint(os.read(self.handle, 4096))


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the byte on the wake-up pipe is enough."""


class Supervisor:
    """Supervise one run.

    Args:
        kept: the run, and what holds it.
        signals: how stop requests arrive.
        log: the service's log, which is kept below its limit; None when that is not our task.
    """

    def __init__(self, kept: RunHandle, signals: Signals, log: int | None = None) -> None:
        self._place = kept.place
        self._run = run = kept.run
        self._locks = kept.locks
        self._signals = signals
        self._leader = kept.leader
        """A pidfd; None when it is our child, or has ended."""
        self._ancestor = kept.ancestor
        self._confined = run.get("confinement", "none") != "none"
        """Whether the leader only holds the service, which is in a pid namespace of its own."""
        holder = run["leader"]["pid"] if self._confined else 0
        group = identity.own_group(run)
        self._tree = Tree(run["marker"], self._place.lock, ancestor=kept.ancestor, holder=holder, group=group)
        self._exit: Record = {}
        self._kills = kept.kills
        self._asked = bool(run.get("stopping"))
        self._terms: list[float] = []
        self._kill_at = float("inf")
        self._again = AGAIN
        self._patrol_at = 0.0
        self._log = log
        self._log_size = -1
        self._looked_at = 0.0
        self._cap_at = 0.0
        self._hub = kept.hub
        """A connection to the keeper that watches our log; -1 when there is none."""
        self._watch: Watch | None = None
        """Ours, over other keepers' logs too."""
        self._left_at = float("-inf")
        signals.stopping |= kept.stopping

    def hold(self) -> None:
        """Run until nothing is left of the run."""
        if self._asked:
            self._end()
        elif self._signals.stopping:
            self._stop_requested()
        while True:
            self._notice_ends()
            if self._exit and self._is_empty():
                break
            self._escalate()
            self._wait()
        if self._watch is not None:
            self._watch.close()
        if not self._exit["emptied"]:
            self._finish()

    # -- what happened -------------------------------------------------------------------------------------------------

    def _notice_ends(self) -> None:
        while (found := _reap()) is not None:  # our starter too, if it only adopted
            if self._ancestor and found[0] == self._run["leader"]["pid"]:
                self._leader_ended(os.waitstatus_to_exitcode(found[1]))
        if not (self._ancestor or self._exit) and self._leader_has_ended():
            self._leader_ended(None if self._leader is None else adopted_status(self._leader, self._run["leader"]))

    def _leader_ended(self, code: int | None) -> None:
        """Record the leader's exit at once, then end what it left behind."""
        if self._confined and code is not None:
            code = true_code(code)
        known = identity.read_record(self._place.exit)
        if known.get("run_id") == self._run["run_id"]:  # by the keeper before us
            self._exit = known
        else:
            at = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._exit = {
                "run_id": self._run["run_id"],
                "code": code if code is not None and code >= 0 else None,
                "signal": -code if code is not None and code < 0 else None,
                "asked": self._asked or not (self._ancestor or identity.began(self._run, self._place.exit)),
                "out_of_memory": code == -signal.SIGKILL and self._kills.happened(),
                "at": at,
                "at_wall": time.time(),
                "stop_wall": self._run.get("stop_wall"),
                "boot_id": self._run["boot_id"],
                "lived": round(at - self._run["started"], 3) if self._run["started"] else 0.0,
                "emptied": False,
            }
            if self._ancestor and self._is_empty():
                self._finish()
            else:
                self._record_exit()
        if self._leader is not None:
            os.close(self._leader)
            self._leader = None
        now = time.monotonic()
        self._terms = [now]
        self._kill_at = min(self._kill_at, now + min(self._run["grace"], LINGER))

    def _leader_has_ended(self) -> bool:
        if not self._ancestor:
            return self._leader is None or identity.has_ended(self._leader)
        leader = self._run["leader"]["pid"]
        return os.waitid(os.P_PID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _is_empty(self) -> bool:
        if self._ancestor:
            return not _has_children()
        self._tree.look()
        return not self._tree.pidfds() and not (
            identity.lock_held(self._place.lock) and self._place.lock not in self._locks
        )

    # -- what is done --------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Send TERM to the leader, to all, to all again (the first may be swallowed: measured), then KILL.

        Most leaders need no more than the first: finding all members means a walk over every process of the machine.
        """
        now, grace = time.monotonic(), self._run["grace"]
        self._terms = [now, now + 0.4 * grace]
        if self._ancestor and not self._exit:
            self._ask_leader()
            self._terms[0] += ALONE
        self._kill_at = min(self._kill_at, now + grace)

    def _ask_leader(self) -> None:
        """Send TERM to the leader, or to what it holds, and CONT."""
        leader = self._run["leader"]["pid"]  # our child, not reaped: nobody else has its pid
        service = tree.held(leader) if self._confined else None
        for number in (signal.SIGTERM, signal.SIGCONT):
            if service is None:
                os.kill(leader, number)
            else:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(service, number)
        if service is not None:
            os.close(service)

    def _escalate(self) -> None:
        now = time.monotonic()
        if now >= self._kill_at:
            self._tree.kill()
            self._kill_at = now + self._again
            self._again = min(2 * self._again, SLOWEST)
        elif self._terms and now >= self._terms[0]:
            self._terms.pop(0)
            self._tree.ask_to_end()
        self._cap_log(now)
        if now >= self._patrol_at:
            period = self._log_period(now)
            # All keepers at once: one by itself finds all caches cold. Not those that walk over all processes.
            self._patrol_at = now + period - (now % period if self._ancestor else 0.0)
            if self._log is not None and self._watch is None and self._hub < 0:
                self._join(self._log)
            if not self._ancestor:
                self._tree.look()  # to know them should their parents go
        if not self._exit and not self._leader_has_ended():  # else one of the kills may have been its end
            self._kills.look()
        self._heal()

    def _cap_log(self, now: float) -> None:
        """Cut the log if it is too large; one that cannot be cut is left alone for a while."""
        if self._log is None or now < self._cap_at or os.fstat(self._log).st_size <= LOG_LIMIT:
            return
        try:
            removed = log_cap.cap(self._run["log"], self._log)
        except OSError:
            self._cap_at = now + PATROL
            return
        self._log_size = -1
        if self._run.get("log_from"):  # where the run's own lines begin
            self._run["log_from"] = max(0, self._run["log_from"] - removed)
            self._record_run()

    def _log_period(self, now: float) -> float:
        """Return the seconds until the next log check: long before it can be too large at its rate."""
        size = 0 if self._log is None else os.fstat(self._log).st_size
        grown, passed = size - self._log_size, now - self._looked_at
        known, self._log_size, self._looked_at = self._log_size >= 0, size, now
        if grown == 0:
            return CALM_PATROL
        return min(PATROL, max(SHORTEST, LOG_LIMIT / 2 * passed / grown)) if known and grown > 0 else PATROL

    def _join(self, log: int, *, alone: bool = False) -> None:
        """Make sure that our log is watched."""
        found = log_watch.join(log, os.path.dirname(self._run["log"]), alone=alone)
        if isinstance(found, int):
            self._hub = found
        else:
            self._watch = found

    def _hear(self, log: int) -> None:
        """Handle that our log is too large, or that its watcher has ended."""
        with contextlib.suppress(OSError):
            if os.read(self._hub, 1):
                return
        os.close(self._hub)
        self._hub, before, self._left_at = -1, self._left_at, time.monotonic()
        self._join(log, alone=self._left_at - before < log_watch.REJOIN)

    def _wait(self) -> None:
        deadline = min(*self._terms[:1], self._kill_at, self._patrol_at)
        ends = self._tree.pidfds() if self._terms or self._exit or self._asked else []
        ours = [self._signals.handle, *ends]
        ours += [handle for handle in (self._leader, self._hub) if handle is not None and handle >= 0]
        ready = self._wait_watching(self._watch, ours, deadline) if self._watch else _first(ours, deadline)
        if self._log is not None and self._hub in ready:
            self._hear(self._log)
        self._signals.drain()
        if self._signals.stopping:
            self._stop_requested()

    def _wait_watching(self, watch: Watch, ours: list[int], deadline: float) -> list[int]:
        """Wait while we also watch others' logs."""
        while True:
            ready = _first([*ours, *watch.handles()], min(deadline, watch.deadline()))
            if watch.serve(ready) or not set(ready).isdisjoint(ours) or time.monotonic() >= deadline:
                return ready

    def _stop_requested(self) -> None:
        if not self._asked:
            self._asked = True
            self._run["stopping"], self._run["stop_wall"] = True, time.time()
            self._record_run()
            self._end()

    def _finish(self) -> None:
        """Finish the run. The pid file goes first: a reader that sees `emptied` may start the next run."""
        if identity.is_named(self._run):
            with contextlib.suppress(OSError):
                os.unlink(self._run["pid_file"])
        self._exit["emptied"] = True
        self._record_exit()

    def _record_run(self) -> None:
        # Not durable: what it says dies with this boot of the machine, as we do.
        # A full disk or a deleted folder must never end a keeper: it goes on by what it knows.
        with contextlib.suppress(OSError):
            if self._run["run_id"]:
                identity.write_record(self._place.run, self._run, durable=False)

    def _record_exit(self) -> None:
        with contextlib.suppress(OSError):
            identity.write_record(self._place.exit, self._exit, durable=False)

    def _heal(self) -> None:
        """Create deleted files again, or a second copy could be started."""
        try:
            for path, handle in self._locks.items():
                if not identity.same_file(path, handle):
                    self._locks[path] = identity.take_lock(path)
            if not os.access(self._place.run, os.F_OK):
                self._record_run()
        except (OSError, identity.Held):
            if not os.path.isdir(self._place.folder):
                self._stop_requested()  # its project was deleted: nobody could ever find it again


def _first(handles: list[int], deadline: float) -> list[int]:
    """Wait until some can be read, or until the deadline; return which can."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    return [handle for handle, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)]


def _reap() -> tuple[int, int] | None:
    """Reap a child that ended; return its pid and wait status, None when there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def true_code(code: int) -> int:
    """Return the exit code of what a holder held: a signal's number, negative, where it tells it as shells do."""
    return 128 - code if 128 < code <= 128 + _SIGNALS else code


def adopted_status(pidfd: int, leader: Record) -> int | None:
    """Return the exit code of a process that is not our child; None where the kernel does not tell.

    A zombie shows it in /proc; one that was reaped leaves it with its pidfd since Linux 6.15.
    """
    stat = identity.Stat(leader["pid"])
    if stat.start == leader["start"] and stat.ended:
        return os.waitstatus_to_exitcode(stat.status)
    try:
        answer = fcntl.ioctl(pidfd, _PIDFD_GET_INFO, struct.pack("Q56x", _PIDFD_INFO_EXIT))
    except OSError:
        return None
    mask, status = struct.unpack("Q52xi", answer)
    return os.waitstatus_to_exitcode(status) if mask & _PIDFD_INFO_EXIT else None
