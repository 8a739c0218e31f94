"""Die at a named point when a test asks for it, so that every instant between two side effects can be tested.

The keeper imports it too: standard library only, and tiny.
"""

import os
import signal

VARIABLE = "OCM_FAILPOINT"


def point(name: str) -> None:
    """End this process as `kill -9` would, if the variable has this name."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
