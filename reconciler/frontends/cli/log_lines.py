"""Lay out what services printed, line by line: whose it is, when it was, and nothing that steers a terminal. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from reconciler.core.plain_text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*m")
_TIME: Final = re.compile(
    r"(?<!\d)(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d+)?\s?(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)
_WITHIN: Final = 60
"""Characters at the beginning of a line in which its time stands."""
_LONGEST: Final = 1 << 16
"""Bytes of a line that are kept together: what has no line end must not fill the memory."""


class Lines:
    """Cut pieces of any size into lines.

    Args:
        give: called with each whole line, without its end.
    """

    def __init__(self, give: Callable[[bytes], None]) -> None:
        self._give = give
        self._rest = b""

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            self._give(line)
        if len(self._rest) > _LONGEST:
            self.end()

    def end(self) -> None:
        """Give the last line, which has no end yet."""
        if self._rest:
            self._give(self._rest)
        self._rest = b""


def shown(line: bytes) -> str:
    """Return a line as a terminal may have it: without colours, and each control character as a picture of itself."""
    return visible(_COLOUR.sub("", line.decode(errors="replace").rstrip("\r")))


def time_of(line: bytes) -> float | None:
    """Return when a line says it was printed, in seconds since the epoch; one without a zone is of this machine."""
    found = _TIME.search(line[: 2 * _WITHIN].decode(errors="replace")[:_WITHIN])
    if found is None:
        return None
    zone = (found[2] or "").upper().replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(f"{found[1].replace(' ', 'T')}{zone}").astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def since(lines: Iterable[bytes], begin: float) -> Iterator[bytes]:
    """Return the lines from a time on; a line without one is of the time of the one before it.

    Args:
        lines: in the order in which they were printed.
        begin: seconds since the epoch.
    """
    new = False
    for line in lines:
        at = time_of(line)
        new = new if at is None else at >= begin
        if new:
            yield line


def stamp(at: float) -> str:
    """Return a time as it stands before a line, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
