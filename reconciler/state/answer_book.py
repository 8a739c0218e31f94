"""The answers that were given, in `answers.json`: each is on disk before it is sent, so none is sent twice.

Many at once share one write.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from reconciler.core import answers
from reconciler.system import aio, files

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.core.answers import AnswerRecord
    from reconciler.settings import Home


def path(home: Home) -> Path:
    """Return the file."""
    return home.controller / "answers.json"


def read(home: Home) -> tuple[AnswerRecord, ...]:
    """Return what is remembered, the oldest first; nothing where the file is missing or broken."""
    data = files.read_json(path(home))
    try:
        return tuple(map(answers.of_dict, data["answers"])) if data else ()
    except (LookupError, TypeError, ValueError):
        return ()


class AnswerBook:
    """The answers of one home, of a controller that leads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._records = {record.demand: record for record in read(home)}
        self._version = 0
        self._saved = 0
        """The version that is on disk."""
        self._writing = asyncio.Lock()

    @property
    def records(self) -> tuple[AnswerRecord, ...]:
        """Return all that is remembered."""
        return tuple(self._records.values())

    def of(self, demand: str) -> AnswerRecord | None:
        """Return what became of a demand."""
        return self._records.get(demand)

    def note(self, record: AnswerRecord) -> None:
        """Take this down, to be kept by `save`."""
        self._records[record.demand] = record
        self._version += 1

    def drop(self, demand: str) -> None:
        """Forget what could not be kept."""
        self._records.pop(demand, None)
        self._version += 1

    async def save(self) -> None:
        """Return when what was taken down until now is on disk. Raises OSError."""
        wanted = self._version
        async with self._writing:
            if self._saved >= wanted:
                return
            version, records = self._version, answers.kept(self.records)
            self._records = {record.demand: record for record in records}
            await aio.run_in_thread_shielded(self._write, records)
            self._saved = version

    def _write(self, records: tuple[AnswerRecord, ...]) -> None:
        data = json.dumps({"answers": [record.to_dict() for record in records]})
        files.replace_file(path(self._home), data.encode())
