"""Tell what a person changed by hand beside the spec from what the manager changed itself, by fingerprints."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FingerprintTracker:
    """The fingerprints of all projects, as compared last.

    Args:
        fingerprint: returns that of a project's files as they are now.
    """

    def __init__(self, fingerprint: Callable[[str], object]) -> None:
        self._fingerprint = fingerprint
        self._known: dict[str, object] = {}
        self._ours: set[str] = set()
        """Projects whose files the manager changes right now."""

    def changed(self, name: str) -> bool:
        """Return whether something was edited since the last call."""
        if name in self._ours:
            return False
        now = self._fingerprint(name)
        before, self._known[name] = self._known.get(name, now), now
        return before != now

    @contextlib.contextmanager
    def own_changes(self, name: str) -> Iterator[None]:
        """Suspend the comparison while the manager changes files of the project itself."""
        self._ours.add(name)
        try:
            yield
        finally:
            self._ours.discard(name)

    def accept(self, name: str) -> None:
        """Take the files as they are now for unedited."""
        self._known[name] = self._fingerprint(name)

    def forget(self, name: str) -> None:
        """Drop a project that is gone."""
        self._known.pop(name, None)
