"""A storm of needs: many requests, two people who answer each at once, and a controller that is killed meanwhile.

Counted is what reached the agent, and what each of the two was told.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reconciler import settings as settings_module
from reconciler.api import inbox
from reconciler.core.history import Author, Via
from reconciler.core.needs import NeedKind, identity
from reconciler.settings import UserError

if TYPE_CHECKING:
    from reconciler.settings import Settings
    from tests.support.asking import Asking

AT_ONCE: Final = 10
"""Requests that wait at the same time."""
PEOPLE: Final = {"once": Author(Via.WEB, "ada"), "always": Author(Via.CLI, "bob")}
"""What each of the two answers, whatever is asked."""
NO_CONTROLLER: Final = "no controller is running"


@dataclass
class Heard:
    """What the two were told of one request."""

    answered: list[str] = field(default_factory=list)
    """Of those whose answer the agent has: what they had said."""
    too_late: list[str] = field(default_factory=list)


class Storm:
    """One storm.

    Args:
        asking: the project.
        count: requests.
        kills: times that the controller is killed.
        seed: of when that is.
    """

    def __init__(self, asking: Asking, count: int, kills: int, seed: int) -> None:
        self.asking = asking
        self.heard = {f"per_{number}": Heard() for number in range(count)}
        self._settings: Settings = settings_module.load(environment=asking.world.environment)
        self._kills = sorted(random.Random(seed).sample(range(1, count), kills))  # noqa: S311  no secret
        self._over = threading.Event()

    def run(self) -> None:
        """Until every request was answered."""
        killer = threading.Thread(target=self._kill)
        killer.start()
        try:
            asyncio.run(self._answer_all())
        finally:
            self._over.set()
            killer.join()

    def accepted(self) -> Counter[str]:
        """How often the agent accepted an answer to each request."""
        return Counter(line.split()[0] for line in self.asking.replies() if line.split()[1] == "OK")

    def said(self) -> dict[str, str]:
        """What the agent was told first, by request."""
        return {line.split()[0]: line.split()[2] for line in reversed(self.asking.replies()) if " OK " in line}

    def _kill(self) -> None:
        """Kill the controller whenever so many answers have arrived, with whatever is on its way, and start another."""
        for after in self._kills:
            while sum(self.accepted().values()) < after:
                if self._over.wait(0.005):
                    return
            self.asking.world.kill()
            self.asking.world.start()

    async def _answer_all(self) -> None:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(request: str) -> None:
            async with places:
                self.asking.ask(request, "ls")
                async with asyncio.TaskGroup() as both:
                    for word, who in PEOPLE.items():
                        both.create_task(self._answer(request, word, who))

        async with asyncio.TaskGroup() as tasks:
            for request in self.heard:
                tasks.create_task(one(request))

    async def _answer(self, request: str, word: str, who: Author) -> None:
        """Answer until it is known what became of it: while no controller runs, nobody can be answered."""
        need = identity(self.asking.name, NeedKind.PERMISSION, request)
        while True:
            try:
                await inbox.answer(self._settings, self.asking.name, need, [word], who)
            except UserError as error:
                if NO_CONTROLLER in str(error) or "nothing waits" in str(error):
                    await asyncio.sleep(0.02)
                    continue
                self.heard[request].too_late.append(str(error))
            else:
                self.heard[request].answered.append(word)
            return


def check(storm: Storm) -> None:
    """Nothing lost, nothing twice, and what was told is what happened."""
    assert storm.accepted() == Counter(dict.fromkeys(storm.heard, 1))
    assert list(storm.asking.waiting.iterdir()) == []
    said = storm.said()
    for request, heard in storm.heard.items():
        assert heard.answered == [said[request]], (request, heard)
        assert len(heard.too_late) == 1, heard
        assert f"by {PEOPLE[said[request]].text}: {said[request]}" in heard.too_late[0]
