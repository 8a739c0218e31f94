"""Write down what happens: the one subscriber of the sink that turns events into history."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from reconciler.controller.events import ActionBegun, Observed, PassEnded, SpecJudged
from reconciler.core.history import CONTROLLER, Type
from reconciler.core.observed import Phase, Service
from reconciler.core.reasons import Reason
from reconciler.engines.base import ProjectGone, Recorded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from reconciler.core.observed import ObservedService
    from reconciler.core.status import ProjectStatus
    from reconciler.engines.base import Events
    from reconciler.state.history import History

_WELL: Final = frozenset(
    {
        *(Reason.RECONCILING, Reason.OBSERVING, Reason.NOT_SEEN_YET, Reason.CLONING, Reason.PROVIDING_AGENT),
        *(Reason.WAITING_TO_START, Reason.STARTING, Reason.PROVING_READY, Reason.STOPPING, Reason.ENDING),
    }
)
"""Reasons why a project is not as desired yet, with nothing wrong. Those of actions are others."""


class Historian:
    """Records specs, actions, services that start and end, and conditions that change.

    Args:
        history: where.
        events: the sink.
        published: what an earlier controller published of each project: what is still so is no news.
    """

    def __init__(self, history: History, events: Events, published: Mapping[str, Mapping[str, Any]]) -> None:
        self.history = history
        self._standing: dict[str, tuple[bool, bool, str]] = {}
        """By project: whether it is ready, whether it is stalled, and why."""
        for name, status in published.items():
            with contextlib.suppress(LookupError, TypeError):  # whatever is in that file: all it costs is an event
                self._standing[name] = (status["ready"]["status"], status["stalled"]["status"], status["reason"])
        self._services: dict[tuple[str, Service], ObservedService] = {}
        """As observed last by this controller."""
        events.subscribe(SpecJudged, self._judged)
        events.subscribe(ActionBegun, self._begun)
        events.subscribe(Observed, self._observed)
        events.subscribe(PassEnded, lambda event: self.pass_ended(event.status))
        events.subscribe(Recorded, self._recorded)
        events.subscribe(ProjectGone, self._gone)

    def controller_started(self, version: str, before: str, where: str) -> None:
        """Record the start of this controller.

        Args:
            version: of this program.
            before: of the controller that published last; empty: none did.
            where: its specs folder.
        """
        self.history.record(Reason.CONTROLLER_STARTED, message=f"version {version}, specs in {where}")
        if before and before != version:
            self.history.record(Reason.CONTROLLER_UPGRADED, message=f"version {before} -> {version}")

    def controller_stopped(self) -> None:
        """Record the end of this controller."""
        self.history.record(Reason.CONTROLLER_STOPPED, message="what runs goes on")
        self.history.close()

    def _judged(self, event: SpecJudged) -> None:
        bad = event.reason in {Reason.SPEC_INVALID, Reason.SPEC_VANISHED}
        self.history.record(
            event.reason,
            event.name,
            event.message,
            kind=Type.WARNING if bad else Type.NORMAL,
            author=event.author,
            generation=event.generation,
            changes=event.changes,
        )

    def _begun(self, event: ActionBegun) -> None:
        """Record an action before it is performed: should this process end meanwhile, the line says what it did."""
        action = event.action
        self.history.record(action.reason, event.name, action.text, cause=action.cause, generation=event.generation)
        self.history.flush()

    def _observed(self, event: Observed) -> None:
        name = event.facts.name
        for service in Service:
            now = event.facts.service(service)
            before = self._services.get((name, service))
            self._services[name, service] = now
            if before is None:  # seen for the first time: it was started, or perhaps ended, under another controller
                counted = event.before.restart(service).counted != event.ledger.restart(service).counted
                ended = now.phase is Phase.EXITED and counted
            else:
                other = now.instance != before.instance
                if other and now.alive:
                    self._record_service(event, Reason.SERVICE_STARTED, f"{service} started", Type.NORMAL)
                ended = now.phase is Phase.EXITED and (before.alive or other)
            if ended:
                self._record_end(event, service, now)

    def _record_end(self, event: Observed, service: Service, now: ObservedService) -> None:
        how = now.exit.text if now.exit else "an unknown cause"
        asked = now.exit is not None and now.exit.asked
        kind = Type.NORMAL if now.exit and not now.exit.failed else Type.WARNING
        message = f"{service} ended: {how}"
        cause = "it was requested to end" if asked else ""
        self._record_service(event, Reason.SERVICE_ENDED, message, kind, cause)

    def _record_service(self, event: Observed, reason: Reason, message: str, kind: Type, cause: str = "") -> None:
        generation = event.ledger.generation
        self.history.record(reason, event.facts.name, message, kind=kind, cause=cause, generation=generation)

    def pass_ended(self, status: ProjectStatus) -> None:
        """Record where a pass has led, unless the last one led there too."""
        standing = (status.ready.status, status.stalled.status, status.reason)
        if standing == self._standing.get(status.name):
            return
        self._standing[status.name] = standing
        if status.reason is Reason.SPEC_INVALID:
            return  # recorded already, with its author
        how = "stalled" if status.stalled.status else "ready" if status.ready.status else "not ready"
        self.history.record(
            status.reason,
            status.name,
            f"{how}: {status.message}" if status.message else how,
            kind=Type.NORMAL if _well(status) else Type.WARNING,
            generation=status.observed_generation,
        )

    def _recorded(self, event: Recorded) -> None:
        kind, author = Type.WARNING if event.warning else Type.NORMAL, event.author or CONTROLLER
        self.history.record(event.reason, event.name, event.message, kind=kind, cause=event.cause, author=author)

    def _gone(self, event: ProjectGone) -> None:
        self.history.record(Reason.DESTROYED, event.name, "nothing of it is left")
        self._standing.pop(event.name, None)
        for service in Service:
            self._services.pop((event.name, service), None)


def _well(status: ProjectStatus) -> bool:
    """Return whether nothing is wrong: it is as desired, or on its way there."""
    return not status.stalled.status and (
        status.ready.status or status.reason in _WELL or f"{status.reason}Failed" in _REASONS
    )


_REASONS: Final = frozenset(map(str, Reason))
"""An action's own reason is one to whose name `Failed` can be added."""
