"""Find and signal all living processes of one run, each proved to belong to it, however it tried to get away.

A process is verified after its pidfd was opened, so the evidence and the later signal mean the same process. Evidence
is: its parent is a member; and for a keeper that is not an ancestor of the run also: it is in a session with a member,
its environment has the run's marker, it holds the service's lock, or it is in the control group of this run's service,
if that has limits. Standard library only, imports only `identity`.

A confined service is held by a process outside its pid namespace, the leader: its child is the namespace's first
process, whose first child is the service itself. The leader passes no signal on, so the service itself is asked to end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from reconciler.engines.local.keeper import identity
from reconciler.engines.local.keeper.identity import (
    Stat,
    has_ended,
    has_variable,
    holds_lock,
    newest_pid,
    pids,
    read_bytes,
)

MOST = 200
"""Members handled at a time: each costs a descriptor."""
PASSES = 50
"""Walks over all processes in one search: it ends even if others fork faster than we read."""


CHASE = 0.05
"""Seconds spent chasing processes that fork and end faster than a walk over all processes."""
NEWEST = 8
"""Pids that are tried at a time in a chase."""
STILL = 50
"""Checks in a row without any fork on this machine that end a chase: about a millisecond."""


class Tree:
    """The members known now; `look` finds more."""

    def __init__(self, marker: str, lock: str, *, ancestor: bool, holder: int = 0, group: str = "") -> None:
        self._marker = marker
        self._group = group
        self._holder = holder
        self._lock = lock
        self._ancestor = ancestor
        self._me = os.getpid()
        self._freeze = False
        self._known: dict[int, int] = {}

    def pidfds(self) -> list[int]:
        """Return the pidfds of the known members that live."""
        for pid, pidfd in list(self._known.items()):
            if has_ended(pidfd):
                os.close(pidfd)
                del self._known[pid]
        return list(self._known.values())

    def look(self) -> bool:
        """Find members that are not known yet; return whether there were any."""
        self.pidfds()
        grown = False
        for _ in range(PASSES):
            if not self._pass():
                break
            grown = True
        return grown

    def ask_to_end(self) -> None:
        """Send TERM to every member, and CONT, or a stopped one would never notice.

        A holder ends with what it holds, and then tells how that ended.
        """
        self.look()
        self._send(signal.SIGTERM, [pidfd for pid, pidfd in self._known.items() if pid != self._holder])
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """Stop every process as soon as it is found, so that none can fork any more; then kill all."""
        self._freeze = True
        self._send(signal.SIGSTOP)
        self.look()
        self._chase()
        self._send(signal.SIGKILL)

    def _chase(self) -> None:
        """Stop processes that fork and end before a walk sees them: the newest process still lives."""
        end, still, last = time.monotonic() + CHASE, 0, newest_pid() - NEWEST
        while still < STILL and time.monotonic() < end:
            newest = newest_pid()
            still = 0 if newest != last else still + 1
            for pid in range(newest, max(last, newest - NEWEST, 1), -1):
                if pid not in self._known and pid != self._me:
                    self._admit(pid)
            last = newest

    def _send(self, number: signal.Signals, only: list[int] | None = None) -> None:
        for pidfd in self._known.values() if only is None else only:
            # Gone, or now another user's: what cannot be ended is looked at again, never forgotten.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(pidfd, number)

    def _pass(self) -> bool:
        """Admit all that can be verified in one walk over all processes; return whether there were any."""
        grown = False
        for pid in reversed(pids()):  # the newest first: in a storm of forks the others are gone already
            if pid in self._known or pid == self._me or len(self._known) >= MOST:
                continue
            if self._belongs(pid) and self._admit(pid):
                grown = True
        return grown

    def _admit(self, pid: int) -> bool:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        if self._belongs(pid) and not has_ended(pidfd):
            self._known[pid] = pidfd
            if self._freeze:
                self._send(signal.SIGSTOP, [pidfd])
            return True
        os.close(pidfd)
        return False

    def _belongs(self, pid: int) -> bool:
        stat = Stat(pid)
        if stat.ended:
            return False
        if self._ancestor:
            return stat.parent == self._me or self._is_member(stat.parent)
        return (
            self._is_member(stat.parent)
            or any(Stat(member).session == stat.session and self._is_member(member) for member in self._known)
            or (bool(self._marker) and has_variable(pid, self._marker))
            or holds_lock(pid, self._lock)
            or (bool(self._group) and b"%d" % pid in read_bytes(self._group).split())
        )

    def _is_member(self, pid: int) -> bool:
        """Verify membership after something was read that names this pid: if the member still lives, it was meant."""
        return pid in self._known and not has_ended(self._known[pid])


def held(holder: int) -> int | None:
    """Open a pidfd of the service that a child of ours holds confined; None while there is none."""
    for first in _children(holder):
        for pid in _children(first):
            if not _is_second(pid):
                continue
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(pid)
                if identity.Stat(pid).parent == first and identity.Stat(first).parent == holder:
                    return pidfd
                os.close(pidfd)
    return None


def _children(pid: int) -> list[int]:
    return [int(child) for child in identity.read_bytes(f"/proc/{pid}/task/{pid}/children").split()]


def _is_second(pid: int) -> bool:
    """Tell whether a process is the second of a pid namespace below ours: all others there came later."""
    status = identity.read_bytes(f"/proc/{pid}/status")
    numbers = status.partition(b"\nNSpid:")[2].partition(b"\n")[0].split()
    return len(numbers) > 1 and numbers[-1] == b"2"
