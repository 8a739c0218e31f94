"""Follow whom the settings file names to be notified, without a restart."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

import structlog

from reconciler import settings_file
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reconciler.controller.notifier import Notifier
    from reconciler.core.status import ProjectStatus
    from reconciler.engines.base import Events
    from reconciler.settings import Settings
    from reconciler.settings_file import NotifyTarget

logger = structlog.stdlib.get_logger(__name__)


class Notifying:
    """Tells people that are away, if the settings file names any: an HTTP client is loaded only then.

    Args:
        settings: of the controller.
        events: the sink.
        statuses: returns those of all projects.
        say: tells a person at the terminal why nobody is notified.
    """

    def __init__(
        self,
        settings: Settings,
        events: Events,
        statuses: Callable[[], Iterable[ProjectStatus]],
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._events = events
        self._tell = say
        self._statuses = statuses
        self._targets: Sequence[NotifyTarget] = ()
        self._trouble = ""
        self._notifier: Notifier | None = None
        self._look()

    async def run(self) -> None:
        """Follow the settings file until cancelled: it is one stat, every few seconds."""
        task = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._look()
                if self._notifier is not None and task is None:
                    task = tasks.create_task(self._notifier.run())
                await asyncio.sleep(self._settings.poll)

    def _look(self) -> None:
        """Take up who is named now; a file that cannot be accepted changes nothing."""
        try:
            targets = settings_file.load(self._settings.home.root).notify
        except UserError as error:
            self._say(str(error))
            return
        self._trouble = ""
        if tuple(targets) == self._targets:
            return
        self._targets = tuple(targets)
        if self._notifier is None:
            module = importlib.import_module("reconciler.controller.notifier")
            self._notifier = module.Notifier(self._settings, (), self._events)
        self._notifier.retarget(targets, self._statuses())

    def _say(self, trouble: str) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        who = "those are notified that were before" if self._targets else "nobody is notified"
        logger.warning(who, error=trouble)
        if self._tell:
            self._tell(f"{who}: {trouble}")
