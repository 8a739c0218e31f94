"""Dying at a named point when a test asks for it, so that every instant between two side effects can be tried.

Belongs here: nothing else. Used by the keeper too, so it is standard library only and tiny.
"""

import os
import signal

VARIABLE = "OCM_CRASH_AT"


def point(name: str) -> None:
    """End this process as `kill -9` would, if it was started with this name in the variable."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
