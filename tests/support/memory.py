"""What this process can still reach in its memory: search it for a text. No Python program can clear freed memory."""

from __future__ import annotations

import gc
from collections import deque


def holders(backwards: str) -> list[str]:
    """The types of what holds a text that contains a needle; the needle comes backwards, so that it is not found."""
    gc.collect()
    known: set[int] = set()
    found: list[str] = []
    left = deque(gc.get_objects())
    ours = {id(known), id(found), id(left)}
    while left:
        one = left.popleft()
        if id(one) in known or id(one) in ours:
            continue
        known.add(id(one))
        inside = gc.get_referents(one)
        found += [type(one).__name__ for text in inside if isinstance(text, str) and backwards in text[::-1]]
        found += [type(one).__name__ for text in inside if isinstance(text, bytes) and backwards.encode() in text[::-1]]
        left += [item for item in inside if not isinstance(item, str | bytes)]
    return found
