"""Find out whether bubblewrap works here, for this user."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from reconciler.engines.local.confinement import walls
from reconciler.engines.local.confinement.walls import Walls
from reconciler.engines.local.git import subprocesses

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM: Final = "bwrap"
UNSHARE: Final = "unshare"
LIMIT: Final = 20.0
"""Seconds for what takes a hundredth of one: it is asked when everything starts at once."""
AGAIN: Final = 60.0
"""Seconds until one that did not work is asked again."""
_REASON: Final = re.compile(r"^bwrap: (.{1,200})$", re.MULTILINE)
_INSTALL: Final = "install it with your package manager, like: apt-get install bubblewrap"


@dataclass(frozen=True, kw_only=True)
class Check:
    """Whether it works."""

    program: str = ""
    """Its path; empty where there is none."""
    unshare: str = ""
    """Path of the program that keeps out what is mounted later; empty where that does not work."""
    why_not: str = ""
    """A clause; empty when it works."""


_known: dict[str, tuple[Check, float]] = {}
"""By PATH: what was found out, and until when that holds. That it works holds while this process lives: a machine under
load must not change it."""


async def check(environment: Mapping[str, str]) -> Check:
    """Return whether it works, as it is used for agents."""
    path = environment.get("PATH", "")
    if path in _known and time.monotonic() < _known[path][1]:
        return _known[path][0]
    program = shutil.which(PROGRAM, path=path)
    if program is None:
        return Check(why_not=f"bubblewrap is not installed; {_INSTALL}")
    found = Check(program=program, unshare=shutil.which(UNSHARE, path=path) or "")
    why_not = await _why_not(found, environment)
    if why_not and found.unshare:  # some kernels let only some programs make namespaces
        found = Check(program=program)
        why_not = await _why_not(found, environment)
    found = replace(found, why_not=why_not)
    _known[path] = (found, time.monotonic() + AGAIN if found.why_not else float("inf"))
    return found


async def _why_not(found: Check, environment: Mapping[str, str]) -> str:
    nothing = Walls(bubblewrap=found.program, unshare=found.unshare, folder="/", places={})
    words = [*walls.command(nothing), found.program, "--version"]
    try:
        done = await subprocesses.run(words, env={"PATH": environment["PATH"], "LC_ALL": "C"}, timeout=LIMIT)
    except TimeoutError:
        return f"bubblewrap does not answer within {LIMIT:.0f} s"
    except OSError as error:
        return f"bubblewrap cannot be run ({error.strerror})"
    if done.code == 0:
        return ""
    reason = _REASON.search(done.err)
    why = reason[1] if reason else f"it ended with code {done.code}"
    if "Unknown option" in why:
        return f"this bubblewrap is too old ({why}); version 0.8.0 is needed"
    return f"bubblewrap does not work for this user ({why}); let this user make user namespaces"
