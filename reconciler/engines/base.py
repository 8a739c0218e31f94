"""The door to where projects run: everything above knows this and nothing behind it.

Belongs here: what the controller asks of an engine. The first engine is `engines.local` (processes of this machine);
another (Kubernetes) runs the same specs and is the second implementation of this protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.core.actions import Action, Outcome
    from reconciler.core.observed import Ledger, Now, Probe, ProjectFacts, Service, ServiceFacts
    from reconciler.core.reasons import Reason
    from reconciler.core.spec import Spec


class Report(Protocol):
    """Called while an action goes on."""

    def __call__(self, reason: Reason, message: str, seen: tuple[Service, ServiceFacts] | None = None) -> None:
        """Say what goes on.

        Args:
            reason: of the condition meanwhile.
            message: a clause.
            seen: what has just become of a service.
        """


class Event:
    """What is published on the sink: a frozen value."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ProjectDisturbed(Event):
    """Something of this project is not as it was: a process ended, or a service says something else."""

    name: str


@dataclass(frozen=True, slots=True)
class ServiceProbed(Event):
    """A service was asked and is as it was."""

    name: str
    service: Service
    probe: Probe


@dataclass(frozen=True, slots=True)
class ProjectGone(Event):
    """Nothing of a project is left, neither desired nor actual: what is kept by its name can go."""

    name: str


E = TypeVar("E", bound=Event)


class Events:
    """The one sink for events of the engine and the controller; it exists before both.

    Subscribers are called at once, in the order of their subscription, on the event loop. They must not raise.
    """

    def __init__(self) -> None:
        self._subscribers: dict[type[Event], list[Callable[[Any], None]]] = {}

    def subscribe(self, kind: type[E], subscriber: Callable[[E], None]) -> None:
        """Call the subscriber with every event of exactly this kind from now on."""
        self._subscribers.setdefault(kind, []).append(subscriber)

    def publish(self, event: Event) -> None:
        """Call everybody who subscribed to events of this kind."""
        for subscriber in self._subscribers.get(type(event), ()):
            subscriber(event)

    def happened(self, name: str) -> None:
        """Publish that something of this project is not as it was."""
        self.publish(ProjectDisturbed(name))

    def probed(self, name: str, service: Service, probe: Probe) -> None:
        """Publish that a service was asked and is as it was."""
        self.publish(ServiceProbed(name, service, probe))


class Engine(Protocol):
    """Looks at projects and acts on them. Every call may be cancelled at any await and asked again."""

    def now(self) -> Now:
        """The clock."""

    async def observe(self, name: str, spec: Spec, ledger: Ledger) -> ProjectFacts:
        """Everything a plan may look at, as it is now."""

    async def perform(self, name: str, spec: Spec, action: Action, report: Report) -> Outcome:
        """Do one planned action."""

    def fingerprint(self, name: str) -> object:
        """Changes when a person edited something of the project beside its spec. Cheap."""

    async def watch(self, hint: Callable[[], None]) -> None:
        """Call `hint` whenever a fingerprint may have changed, until cancelled. It may be late or missing."""

    def describe(self, name: str) -> str:
        """Where the project lives, for people."""

    def tidy(self) -> None:
        """Housekeeping that may be broken off. Blocking: called in a thread."""

    async def close(self) -> None:
        """Let go of everything watched; what runs goes on."""
