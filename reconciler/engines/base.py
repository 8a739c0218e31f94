"""The protocol of an engine: everything above knows this and nothing behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from reconciler.core.actions import Action, Outcome
    from reconciler.core.findings import Finding
    from reconciler.core.observed import Ledger, Now, ObservedProject, ObservedService, Probe, Service
    from reconciler.core.plan import Recipe, View
    from reconciler.core.reasons import Reason
    from reconciler.core.spec import Spec


class Report(Protocol):
    """Called while an action goes on."""

    def __call__(self, reason: Reason, message: str, seen: tuple[Service, ObservedService] | None = None) -> None:
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


class Capability(StrEnum):
    """What an engine offers beyond running services."""

    FIXED_PORTS = "fixed-ports"
    """A spec may name the ports of its services."""
    LOG_FILES = "log-files"
    """Logs are files of this machine."""
    PRIVATE_FILES = "private-files"
    """Secrets are kept in a file that a person may edit."""
    USAGE = "usage"
    """It knows what a service uses of the machine."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a service is spoken to."""

    url: str
    """Without a path."""
    secret: str = field(repr=False)
    """The agent's password, or the bridge's token; empty where it cannot be read."""
    proof: Path | None = None
    """The folder by which a client proves that the listener is this service; None: the network does that."""


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """The secrets of a project, without any value."""

    keys: tuple[str, ...]
    """Their names."""
    bad: tuple[str, ...] = ()
    """Those that are missing or cannot be used."""
    problems: tuple[str, ...] = ()
    """Sentences that begin with "cannot"."""
    place: str = ""
    """Where they are kept, for people."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a service uses."""

    memory: int
    """Bytes."""
    cpu: float
    """Seconds of processor time since its start."""


class EngineAccess(Protocol):
    """What frontends may ask of an engine, without a controller. Each call takes at most a few milliseconds."""

    def names(self) -> frozenset[str]:
        """Return the projects of which it still holds anything."""

    def connect(self, name: str, service: Service) -> Connection | None:
        """Return how a service is spoken to, or None where it does not run or its listener is not proved to be it."""

    def log(self, name: str, service: str) -> Path:
        """Return the file of a service's log, which need not exist."""

    def secrets(self, name: str) -> Secrets:
        """Return which secrets there are and which cannot be used."""

    def set_secrets(self, name: str, values: Mapping[str, str]) -> None:
        """Keep these secrets, by name. Raises UserError or OSError."""

    def describe(self, name: str) -> str:
        """Return where the project lives, for people."""

    def capabilities(self) -> frozenset[Capability]:
        """Return what it offers."""

    def findings(self) -> tuple[Finding, ...]:
        """Return what `doctor` says about where projects run. Takes a second or two; changes nothing."""


class Engine(EngineAccess, Protocol):
    """Observes projects and acts on them. Every call may be cancelled at any await and repeated."""

    def now(self) -> Now:
        """Return the time on its clock."""

    async def observe(self, name: str, spec: Spec, ledger: Ledger) -> ObservedProject:
        """Return everything a plan may depend on, as it is now."""

    def recipe(self, view: View) -> Recipe:
        """Return its own steps to run a project. Pure."""

    async def perform(self, name: str, spec: Spec, action: Action, report: Report) -> Outcome:
        """Do one planned action."""

    def usage(self, name: str, service: Service) -> Usage | None:
        """Return what a service uses; None where it does not run or this engine cannot tell."""

    def fingerprint(self, name: str) -> object:
        """Return a value that changes when a person edited something of the project beside its spec. Cheap."""

    async def watch(self, hint: Callable[[], None]) -> None:
        """Call `hint` whenever a fingerprint may have changed, until cancelled. It may be late or missing."""

    def tidy(self) -> None:
        """Prune what may go. Blocking: called in a thread."""

    async def close(self) -> None:
        """Release everything watched; what runs goes on."""
