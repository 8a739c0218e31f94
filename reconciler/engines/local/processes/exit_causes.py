"""Why a service ended, as far as its own last words tell.

Only the name of a cause is passed on, never a line of the log: an agent may have written anything there.
"""

from __future__ import annotations

import os
from typing import Final

from reconciler import agents

_TAIL: Final = 2048
"""Bytes at the end of the log that are searched: last words are few."""
_PHRASES: Final = (
    ("address already in use", "its port was taken"),
    ("eaddrinuse", "its port was taken"),
    ("heap out of memory", "out of memory"),
    ("cannot allocate memory", "out of memory"),
    ("no space left on device", "the disk is full"),
    ("opencode-manager: cannot run", "its program cannot be run"),
    ("bwrap: execvp", "its program cannot be run within its confinement"),
    ("bwrap: can't", "its confinement could not be made"),
    ("bwrap: setting up", "its confinement could not be made"),
)


def of_log(path: str, begin: int) -> str:
    """Return the cause that the last lines of a log name; empty where they name none.

    Args:
        path: the log.
        begin: its size when the run began: what stands before that was said by earlier ones.
    """
    try:
        with open(path, "rb") as log:  # noqa: PTH123  a path from a record
            size = os.fstat(log.fileno()).st_size
            own = begin if 0 <= begin <= size else 0  # else it was emptied meanwhile, and all in it is newer
            log.seek(max(own, size - _TAIL))
            text = log.read().decode(errors="replace").lower()
    except OSError:
        return ""
    found = [(text.rfind(phrase), cause) for phrase, cause in (*_PHRASES, *agents.last_words()) if phrase in text]
    return max(found)[1] if found else ""
