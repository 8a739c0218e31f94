"""What waits for a person in all projects, and answering it: a demand is written, and the controller carries it out."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from reconciler.api.results import START_CONTROLLER
from reconciler.core.answers import Fate
from reconciler.settings import UserError
from reconciler.state import answer_book, demands, published

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from reconciler.core.answers import AnswerRecord
    from reconciler.core.history import Author
    from reconciler.settings import Settings

WAIT: Final = 60.0
"""Seconds that an answer is waited for: an agent that is busy takes some."""
MOST: Final = 16_000
"""Characters of an answer."""
_LOOK: Final = 0.02
"""Seconds between two reads of what became of an answer."""


def waiting(settings: Settings, names: Collection[str] | None = None) -> tuple[Mapping[str, Any], ...]:
    """Return what waits for a person, the oldest first, as it is published.

    Args:
        settings: where.
        names: of these projects; None: of all.
    """
    projects = published.read(settings.home).projects
    found = (
        need
        for name, status in projects.items()
        if names is None or name in names
        for need in status.get("needs", ())  # an index of an earlier version has none
    )
    return tuple(sorted(found, key=lambda need: (need["since"], need["project"], need["id"])))


def answered(settings: Settings) -> tuple[AnswerRecord, ...]:
    """Return the last answers, the oldest first."""
    return answer_book.read(settings.home)


async def answer(settings: Settings, project: str, need: str, words: Sequence[str], author: Author) -> AnswerRecord:
    """Answer, and wait for what becomes of it.

    Args:
        settings: where.
        project: its name.
        need: the id of what is answered.
        words: the answer.
        author: who answers.

    Raises:
        UserError: it was not answered; the sentence says why, and who was first.
    """
    if sum(map(len, words)) > MOST:
        raise UserError(f"cannot answer with more than {MOST} characters: shorten it")
    if not published.read(settings.home).running:
        raise UserError(f"cannot answer {need} of {project}: no controller is running; {START_CONTROLLER}")
    try:
        demand = await asyncio.to_thread(demands.write, settings.home, project, need, words, author)
    except OSError as error:
        raise UserError(f"cannot write to {demands.folder(settings.home)}: {error.strerror}; free it") from None
    until = time.monotonic() + WAIT
    while (record := demands.outcome(settings.home, demand)) is None:
        if time.monotonic() > until:
            withdrawn = demands.withdraw(settings.home, demand)
            raise UserError(f"cannot say what became of the answer after {WAIT:.0f} s: {_left(withdrawn=withdrawn)}")
        await asyncio.sleep(_LOOK)
    if record.fate is not Fate.ANSWERED:
        raise UserError(record.message)
    return record


def _left(*, withdrawn: bool) -> str:
    return "it was taken back; try again" if withdrawn else "see: opencode-manager needs"
