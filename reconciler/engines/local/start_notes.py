"""Keep what a run could not load, for a controller that comes later: an agent says it once."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

from reconciler.core.plain_text import plain
from reconciler.system import files

if TYPE_CHECKING:
    from pathlib import Path

MOST: Final = 5
"""Notes that are read."""
_BYTES: Final = 20_000


class StartNotes:
    """The notes of the agent's newest run, in the folder of its records."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "agent.plugins"

    def write(self, run_id: str, failed: tuple[str, ...]) -> None:
        """Replace what is noted. Best effort."""
        with contextlib.suppress(OSError):
            if failed:
                text = json.dumps({"run_id": run_id, "failed": failed})
                files.replace_file(self._path, text.encode(), durable=False)
            else:
                self._path.unlink(missing_ok=True)

    def read(self, run_id: str) -> tuple[str, ...]:
        """Return what was noted of this run."""
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(_BYTES))
            return tuple(plain(one) for one in found["failed"][:MOST]) if found["run_id"] == run_id else ()
        except (OSError, ValueError, TypeError, KeyError):
            return ()
