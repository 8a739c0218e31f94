"""Edits beside the specs: what people change by hand in a project, by its fingerprint.

Belongs here: telling an edit from what was there already. Does not belong here: what a fingerprint is of (`engine`), or
when to compare (`loop`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Edits:
    """The fingerprints of all projects, as they were looked at last.

    Args:
        fingerprint: of a project's files, now.
    """

    def __init__(self, fingerprint: Callable[[str], object]) -> None:
        self._fingerprint = fingerprint
        self._known: dict[str, object] = {}
        self._ours: set[str] = set()
        """Projects of which we change files right now."""

    def noticed(self, name: str) -> bool:
        """Whether something was edited since this was asked last."""
        if name in self._ours:
            return False
        now = self._fingerprint(name)
        before, self._known[name] = self._known.get(name, now), now
        return before != now

    @contextlib.contextmanager
    def by_us(self, name: str) -> Iterator[None]:
        """We change files of it ourselves: that is noticed only afterwards, where it is not forgiven."""
        self._ours.add(name)
        try:
            yield
        finally:
            self._ours.discard(name)

    def forgive(self, name: str) -> None:
        """What differs by now was no edit."""
        self._known[name] = self._fingerprint(name)

    def forget(self, name: str) -> None:
        """There is no such project any more."""
        self._known.pop(name, None)
