"""The protocol of an engine: everything above knows this and nothing behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping, Sequence
    from pathlib import Path

    from reconciler.agents.base import Reply
    from reconciler.core.actions import Action, Outcome
    from reconciler.core.findings import Finding
    from reconciler.core.history import Author
    from reconciler.core.observed import Ledger, Now, ObservedProject, ObservedService, Probe, Service
    from reconciler.core.plan import Recipe, View
    from reconciler.core.reasons import Reason
    from reconciler.core.spec import Spec
    from reconciler.engines.connection import Connection


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
class ActionProgressed(Event):
    """What goes on while an action on a project is performed."""

    name: str
    reason: Reason
    """Of the condition meanwhile."""
    message: str
    """A clause."""
    seen: tuple[Service, ObservedService] | None = None
    """What has just become of a service."""


@dataclass(frozen=True, slots=True)
class FingerprintsMayDiffer(Event):
    """A person may have edited something beside the specs. It may be late or missing."""


@dataclass(frozen=True, slots=True)
class ProjectGone(Event):
    """Nothing of a project is left, neither desired nor actual: what is kept by its name can go."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Event):
    """Something for the history that no other event tells: a need that was opened or answered."""

    name: str
    """Of the project."""
    reason: Reason
    message: str
    warning: bool = False
    cause: str = ""
    author: Author | None = None
    """Who did it; None: the controller."""


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

    def progressed(
        self, name: str, reason: Reason, message: str, seen: tuple[Service, ObservedService] | None = None
    ) -> None:
        """Publish what goes on while an action is performed."""
        self.publish(ActionProgressed(name, reason, message, seen))

    def probed(self, name: str, service: Service, probe: Probe) -> None:
        """Publish that a service was asked and is as it was."""
        self.publish(ServiceProbed(name, service, probe))


class Capability(StrEnum):
    """What an engine offers beyond running services."""

    FIXED_PORTS = "fixed-ports"
    """A spec may name the ports of its services."""
    PRIVATE_FILES = "private-files"
    """Secrets are kept in a file that a person may edit."""
    USAGE = "usage"
    """It knows what a service uses."""


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
    """Bytes resident; what its processes share counts for each of them."""
    cpu: float
    """Seconds of processor time since its start, that of ended processes included."""
    tasks: int
    """Processes and threads."""
    pss: int | None = None
    """Bytes, each shared page counted in parts; None: not asked for, or not known."""


@dataclass(frozen=True, kw_only=True)
class GivenVariable:
    """A variable of an agent's environment."""

    name: str
    value: str
    """Empty where it is a secret: that never leaves the engine."""
    origin: str
    secret: bool = False


@dataclass(frozen=True, kw_only=True)
class GivenFile:
    """Something of the user's that an agent gets."""

    source: str
    place: str
    """Where the agent finds it."""
    how: str


@dataclass(frozen=True, kw_only=True)
class Given:
    """What an agent is given, and what of the user's it is not, with why. Never a secret."""

    variables: tuple[GivenVariable, ...] = ()
    files: tuple[GivenFile, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProjectCommand:
    """How a program runs in the world of a project's agent."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path


class EngineAccess(Protocol):
    """What frontends may ask of an engine, without a controller. Each call but `logs` takes a few milliseconds."""

    def names(self) -> frozenset[str]:
        """Return the projects of which it still holds anything."""

    def connect(self, name: str, service: Service) -> Connection | None:
        """Return how a service is spoken to, or None where it does not run or its listener is not proved to be it."""

    def program(self, name: str, names: Collection[str]) -> str:
        """Return the path on this machine of the program that a project's agent runs; empty where there is none.

        Args:
            name: the project.
            names: what the program may be called.
        """

    def logs(self, name: str, service: Service, *, lines: int, follow: bool = False) -> Generator[bytes, None, None]:
        """Yield the last lines of what a service printed, in pieces of any size, earlier runs included. Blocking.

        Args:
            name: the project.
            service: which.
            lines: how many.
            follow: whether to go on with what is added, until the iterator is closed.

        Raises:
            UserError: there is no log.
            OSError: it cannot be read.
        """

    def usage(self, name: str, service: Service, *, pss: bool = False) -> Usage | None:
        """Return what the whole tree of a service uses; None where it does not run or this engine cannot tell."""

    def disk(self, name: str) -> int | None:
        """Return the bytes that a project's files take. Blocking: it reads every folder. None: it cannot tell."""

    def secrets(self, name: str) -> Secrets:
        """Return which secrets there are and which cannot be used."""

    def set_secrets(self, name: str | None, values: Mapping[str, str]) -> str:
        """Keep these secrets, by key; return where, for people.

        Args:
            name: of the project; None: for the agents of all.
            values: by key; one that the manager does not use itself is the agent's.

        Raises:
            UserError: a key cannot be used, or what is there cannot be changed without changing more.
            OSError: it cannot be written.
        """

    def given(self, name: str) -> Given:
        """Return what the project's agent is given. May take as long as the user's login shell. Raises UserError."""

    def command(self, name: str, argv: Sequence[str]) -> ProjectCommand:
        """Return how a program runs in the world of the project's agent. As `given`. Raises UserError."""

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

    async def perform(self, name: str, spec: Spec, action: Action) -> Outcome:
        """Do one planned action; publish how it progresses."""

    async def answer(self, name: str, spec: Spec, request: str, reply: Reply, *, again: bool) -> None:
        """Give the agent of a project the answer to what it asks.

        Args:
            name: the project.
            spec: in force.
            request: the agent's own id of what it asks.
            reply: the answer.
            again: whether it may have been sent before: then it is sent only if the agent still waits.

        Raises:
            NotWaitingError, ReplyError, CallError: see `agents.base.Driver.answer`.
        """

    async def resume(self, name: str, spec: Spec, sessions: Sequence[str]) -> None:
        """Let those of these conversations go on that are still interrupted.

        Raises:
            NotWaitingError: none of them is.
            CallError: the agent does not answer.
        """

    def fingerprint(self, name: str) -> object:
        """Return a value that changes when a person edited something of the project beside its spec. Cheap."""

    async def watch(self) -> None:
        """Publish whenever a fingerprint may have changed, until cancelled."""

    def tidy(self) -> None:
        """Prune what may go. Blocking: called in a thread."""

    async def close(self) -> None:
        """Release everything watched; what runs goes on."""
