"""Reaping what others leave behind, without taking exit codes from whoever waits for them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PATIENCE = 60
FIRST = """
import ctypes, os, select, signal, subprocess, sys
from reconciler.system import orphans
PR_SET_CHILD_SUBREAPER = 36
if os.environ.get("SUBREAPER"):
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
code = orphans.reap_for_child()
if code is not None:
    sys.exit(code)
"""
LEAVE_AN_ORPHAN = """
left = subprocess.run(["sh", "-c", "sleep 0.01 >&2 & echo $!; exit 7"], stdout=subprocess.PIPE, text=True)
while os.path.exists(f"/proc/{int(left.stdout)}"):
    select.select([], [], [], 0.01)
print(left.returncode)
"""
WAIT_FOR_A_SIGNAL = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("ready", flush=True)
signal.pause()
"""


def program(script: str, *, subreaper: bool = True) -> subprocess.Popen[str]:
    environment = {"SUBREAPER": "1"} if subreaper else {}
    return subprocess.Popen([sys.executable, "-c", FIRST + script], env=environment, stdout=subprocess.PIPE, text=True)


def test_an_orphan_is_reaped_and_a_known_child_keeps_its_exit_code() -> None:
    """Both at once: who runs a command learns how it ended."""
    with program(LEAVE_AN_ORPHAN) as first:
        out, _ = first.communicate(timeout=PATIENCE)

    assert (first.returncode, out) == (0, "7\n")


def test_a_signal_reaches_the_child_and_its_exit_code_comes_back() -> None:
    """As if there were one process."""
    with program(WAIT_FOR_A_SIGNAL) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        first.send_signal(signal.SIGTERM)

        assert first.wait(PATIENCE) == 9


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", 137)])
def test_the_first_process_ends_as_its_child_does(end: str, code: int) -> None:
    """By an exit code, or by a signal as shells tell it."""
    with program(end) as first:
        assert first.wait(PATIENCE) == code


def test_where_no_orphans_come_nothing_is_forked() -> None:
    """An ordinary controller is one process."""
    with program("print(os.getpid())", subreaper=False) as first:
        out, _ = first.communicate(timeout=PATIENCE)

    assert int(out) == first.pid
