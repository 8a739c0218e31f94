"""Names of this machine's users."""

from __future__ import annotations

import pwd
from functools import lru_cache


@lru_cache(maxsize=64)
def name_of(uid: int) -> str:
    """Return the name of a user, `user 1000` where it has none. The system may ask a server on the network for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
