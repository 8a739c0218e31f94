"""Reap orphans when this is the first process of a container.

A process whose parent ends becomes a child of pid 1, or of the nearest subreaper, and stays a zombie until that one
waits for it. The controller cannot wait for all children, since it would take the exit codes of its own from the code
that waits for them. So it runs as the only known child, as below tini or `docker run --init`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import Final

_PR_GET_CHILD_SUBREAPER: Final = 37
_SI_KERNEL: Final = 0x80
"""si_code of a signal that the kernel sends by itself, as a terminal's driver does: the child got it too."""
_HANDED_ON: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})


class _Container:
    """What this process knows of its container."""

    ends_with_us = False
    """The kernel kills everything in a pid namespace once its first process has ended."""


def ends_with_us() -> bool:
    """Tell whether every process here is killed when this one ends, the agents too."""
    return _Container.ends_with_us


def reap_for_child() -> int | None:
    """Fork if orphans of other processes come to this one; return None in the child, an exit code in the reaper.

    Call it while there is only one thread. Where no orphans come, it does nothing.
    """
    first = os.getpid() == 1
    if not first and not _is_subreaper():
        return None
    waited = {*_HANDED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)  # pid 1 gets no signal that it neither blocks nor handles
    child = os.fork()
    if child == 0:
        _Container.ends_with_us = first
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        if (code := _reap(child)) is not None:
            return code
        seen = signal.sigwaitinfo(waited)
        if seen.si_signo != signal.SIGCHLD and seen.si_code != _SI_KERNEL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, seen.si_signo)  # our own child, not reaped: nobody else has its pid


def _is_subreaper() -> bool:
    found = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return bool(found.value)


def _reap(child: int) -> int | None:
    """Reap every process that has ended; return the exit code of our child once it is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 1  # somebody else reaped it
        if pid == 0:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
