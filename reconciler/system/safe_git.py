"""What every git that we run is given, so that nothing in a repository or its configuration starts a program or asks.

A clone belongs to its agent and a specs folder may be anybody's: each may have any `.git/config`, hooks and attributes.
"""

from __future__ import annotations

import os
from typing import Final

VARIABLES: Final = {
    "LC_ALL": "C.UTF-8",  # failures are distinguished by git's English words
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "false",
}
OPTIONS: Final = tuple(
    word
    for setting in (
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "submodule.recurse=false",
        "fetch.recurseSubmodules=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "log.showSignature=false",
        "merge.verifySignatures=false",
        "advice.detachedHead=false",
    )
    for word in ("-c", setting)
)
OFFLINE_OPTIONS: Final = (*OPTIONS, "-c", "protocol.allow=never")
"""For a command that only reads."""


def offline_environment(**more: str) -> dict[str, str]:
    """Return the environment of a command that only reads: no secret of ours, no configuration but the repository's."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **VARIABLES,
        **more,
    }
