"""What an engine observed, and the little that must be remembered, as plain values without any secret.

Times that decide are seconds of CLOCK_BOOTTIME together with the boot id they belong to; wall clock times are only for
people and are named `..._wall`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.core.reasons import Reason


class Service(StrEnum):
    """A process of a project."""

    AGENT = "agent"
    BRIDGE = "bridge"


class Phase(StrEnum):
    """What there is of one service."""

    NEVER = "never"
    """No run of it is known."""
    RUNNING = "running"
    """It lives and is supervised."""
    ORPHANED = "orphaned"
    """It lives, but nobody supervises it: the engine's recipe recovers it."""
    ENDING = "ending"
    """It ended or was asked to, and something of it still lives."""
    EXITED = "exited"
    """Nothing of it lives."""


class Health(StrEnum):
    """What the last probe said."""

    UNKNOWN = "unknown"
    READY = "ready"
    UNRESPONSIVE = "unresponsive"
    CONFIG_INVALID = "config-invalid"
    UNPROTECTED = "unprotected"
    """It answers without the password."""
    REFUSING = "refusing"
    """It does not accept the password."""


class RequestKind(StrEnum):
    """What an agent waits for."""

    PERMISSION = "permission"
    """Leave to do something."""
    QUESTION = "question"
    """An answer to questions of its own."""
    PROVIDER = "provider"
    """A model provider that can be reached, or accepts the credentials: nothing that can be answered."""


@dataclass(frozen=True, kw_only=True)
class AnswerOption:
    """One of the answers that an agent offers."""

    label: str
    """What is given as the answer."""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class AgentQuestion:
    """One question of an agent."""

    text: str
    header: str = ""
    options: tuple[AnswerOption, ...] = ()
    """Besides these, any text is an answer."""
    multiple: bool = False
    """Several of the options may be chosen."""


@dataclass(frozen=True)
class PendingRequest:
    """Something within an agent that waits for a person, though the agent itself is well.

    Texts but `reason` and `message` are the agent's own, with control characters: a frontend makes them printable.
    """

    reason: Reason
    message: str
    """For people: a clause on one line, cut where it is long."""
    _: KW_ONLY
    kind: RequestKind = RequestKind.PROVIDER
    id: str = ""
    """Of the agent, to answer it by; empty: it cannot be answered through the agent."""
    session: str = ""
    tool: str = ""
    """What is to be used, by the agent's own name: `bash`, `edit`."""
    command: str = field(default="", repr=False)
    """Exactly what would be run."""
    patch: str = field(default="", repr=False)
    """Exactly what would be changed, as a unified diff."""
    cut: bool = False
    """The command or the patch is longer than what is kept of it, so nobody should allow it unseen."""
    patterns: tuple[str, ...] = ()
    """What leave is asked for, as the agent matches it: paths or commands."""
    always: tuple[str, ...] = ()
    """What would be allowed from now on too by allowing it for ever."""
    directories: tuple[str, ...] = ()
    """Folders outside of the clone that it is about."""
    questions: tuple[AgentQuestion, ...] = field(default=(), repr=False)
    """To be answered in this order, all of them."""


@dataclass(frozen=True, kw_only=True)
class ActivitySignals:
    """What a service does besides what it says of itself, as seen on its machine."""

    at: float = 0.0
    """CLOCK_BOOTTIME when it was seen."""
    used: float | None = None
    """Seconds of processor time that its processes had used then; None: not measured since it worked."""
    busy: bool | None = None
    """Whether they used the processor since they were measured before; None: not known yet."""
    children: tuple[str, ...] = ()
    """What goes on in the background of an agent, by name: a server that it started."""
    connections: int = 0
    """Connections to its port, but our own."""
    problem: str = ""
    """Why something of this cannot be seen: a clause."""

    @property
    def quiet(self) -> bool:
        """Whether it is proved that nothing goes on and nobody is connected."""
        return self.busy is False and not (self.children or self.connections or self.problem)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probe of a service's health."""

    health: Health = Health.UNKNOWN
    at: float = 0.0
    """CLOCK_BOOTTIME of the probe."""
    at_wall: float = 0.0
    misses: int = 0
    """Probes missed in a row."""
    proved: bool = True
    """Whether it ever proved itself to this controller; else one that comes back has to do that first."""
    answers: bool = False
    """Whether the last of them got an answer, though a wrong one: then it is not silent."""
    detail: str = ""
    quiet_since: float | None = None
    """CLOCK_BOOTTIME since which it has missed its probes and used no processor time."""
    interrupted: tuple[str, ...] | None = None
    """Sessions whose last answer broke off when an earlier run ended; None: not asked yet, or not seen."""
    working: tuple[str, ...] | None = None
    """The conversations that an agent works at or waits in; None: it did not say."""
    attention: tuple[PendingRequest, ...] = ()
    refused: tuple[PendingRequest, ...] = ()
    """Of those, what a model provider refused in the newest session."""
    plugins: tuple[str, ...] = ()
    """What its agent could not load when this run began, for people."""
    idle: bool = False
    """Whether it said that it works at nothing, and wrote nothing since the probe before."""
    written: int = 0
    """When the agent had written its journal last, as it was asked for that; no clock of ours."""
    signals: ActivitySignals | None = None
    """None: not looked at yet."""


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a run ended, as far as anybody knows."""

    run_id: str
    code: int | None = None
    signal: int | None = None
    asked: bool = False
    """Whether we ended it, or it never began since it was killed before it was the service."""
    at: float | None = None
    boot_id: str = ""
    at_wall: float | None = None
    stop_wall: float | None = None
    """When its keeper was asked to end it; None: never, or by an older version."""
    lived: float = 0.0
    """Seconds between its start and its end, 0 where unknown."""
    cause: str = ""
    """What made it end, for people, where that is known: `out of memory`."""
    out_of_memory: bool = False
    """Whether it was ended for want of memory: then it gets time before it is started again."""

    @property
    def text(self) -> str:
        """For people: `exit code 3`, `signal 9 (out of memory)`, `an unknown cause`."""
        if self.code is None and self.signal is None:
            return self.cause or "an unknown cause"
        how = f"signal {self.signal}" if self.signal is not None else f"exit code {self.code}"
        return f"{how} ({self.cause})" if self.cause else how

    @property
    def failed(self) -> bool:
        """Whether it ended by itself and not with exit code 0."""
        return not self.asked and self.code != 0


@dataclass(frozen=True, kw_only=True)
class EndedRun:
    """A run that ended, as later ones remember it. Times are wall clock: of what an agent wrote, no other is known."""

    run_id: str
    started: float = 0.0
    stop: float | None = None
    """When we began to stop it: what broke off from then on did so because of us. None: it ended otherwise."""
    ended: float = 0.0
    """0: not yet."""


@dataclass(frozen=True, kw_only=True)
class ObservedService:
    """One service, as observed. An engine may add fields of its own in a subclass."""

    phase: Phase = Phase.NEVER
    instance: str = ""
    """Opaque id of the run: another start is another instance."""
    digest: str = ""
    """Of the inputs it was started with."""
    wanted_digest: str = ""
    """Of the inputs it would be started with now; empty where they are not known yet."""
    renewal: str = ""
    """What has changed since it was started and waits until it is idle: a clause; empty where nothing has."""
    started: float | None = None
    started_wall: float | None = None
    exit: Exit | None = None
    before: EndedRun | None = None
    """The run before the one that runs, where it is known."""
    probe: Probe = field(default_factory=Probe)

    @property
    def address(self) -> str | None:
        """The URL that reaches it, of one that runs."""
        return None

    @property
    def known_address(self) -> str | None:
        """The same of one that does not run, where it is known that it will have it again."""
        return self.address

    @property
    def details(self) -> Mapping[str, int | None]:
        """What only some engines have, for people: the status shows `pid` and `port`."""
        return {}

    @property
    def alive(self) -> bool:
        """Whether anything of it may still run."""
        return self.phase in {Phase.RUNNING, Phase.ORPHANED, Phase.ENDING}

    @property
    def ready(self) -> bool:
        """Whether it runs and has proved itself."""
        return self.phase is Phase.RUNNING and self.probe.health is Health.READY


@dataclass(frozen=True, kw_only=True)
class RestartRecord:
    """The restart history of one service: survives the controller, never goes down."""

    count: int = 0
    """Restarts after an exit nobody asked for, ever."""
    streak: int = 0
    """The same since it was last stable."""
    counted: str = ""
    """The run whose exit, or whose being wedged, was counted last."""
    not_before: float = 0.0
    """CLOCK_BOOTTIME before which it is not started again, valid within boot_id."""
    boot_id: str = ""
    waived: str = ""
    """The run whose exit no longer counts, since stopping was wanted after it."""
    last_exit: str = ""
    last_exit_wall: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What is remembered of one project because it cannot be seen: durable, one small file in its sandbox."""

    uid: str
    """Random, given at the first accepted spec: the same name after a destroy is another object."""
    generation: int = 0
    digest: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The last accepted spec."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Of the local engine, which alone reads it: picked once and kept, per service."""
    ref: str | None = None
    """The ref of the spec that the clone was brought to."""
    restarts: Mapping[str, RestartRecord] = field(default_factory=dict)
    vanished: bool = False
    """The spec file is missing and that was accepted: stopped and kept."""

    def restart(self, service: Service) -> RestartRecord:
        """Return the restart history of one service."""
        return self.restarts.get(service.value, RestartRecord())


@dataclass(frozen=True, kw_only=True)
class ObservedLimit:
    """A limit of a project's whole tree, for people."""

    name: str
    """As in the spec: memory, cpus or tasks."""
    value: float
    """Bytes, processors, or a number."""
    used: float | None = None
    """The same, when it was observed; None: not measured."""
    enforced_by: str
    hard: bool
    """Whether nothing in the tree gets over it."""


@dataclass(frozen=True, kw_only=True)
class Now:
    """The clock, handed in."""

    boot: float
    """CLOCK_BOOTTIME, seconds."""
    boot_id: str
    wall: float
    """For people only."""


@dataclass(frozen=True, kw_only=True)
class ObservedProject:
    """Everything a plan may depend on for one project."""

    name: str
    sandbox: bool = False
    """The engine holds something of it."""
    work: bool = False
    """There is something that a destroy may lose."""
    work_at_risk: tuple[str, ...] | None = None
    """What a destroy would lose, checked only when that is desired; None: not checked."""
    leftovers: bool = False
    """Something of it is left outside of the sandbox."""
    agent: ObservedService = field(default_factory=ObservedService)
    bridge: ObservedService = field(default_factory=ObservedService)
    warnings: tuple[str, ...] = ()
    confinement: str = ""
    """How the agent that runs is confined; empty where none does, or where the engine does not tell."""
    handed_over: str = ""
    """How much of the user's the agent that runs was given, and how to see it; empty where the engine does not tell."""
    limits: tuple[ObservedLimit, ...] = ()
    """Those of the spec, and by what they are enforced, or would be."""
    public_key: str = ""
    """That a person must add to the repository, should it refuse us."""
    public_key_path: str = ""
    removable_spec: bool = False
    """The spec file is ours to remove once a destroy is complete."""
    spec_stays: bool = False
    """The spec file is tracked by git, and so a person's to remove."""
    details: object = None
    """The engine's own part: only its recipe reads it."""

    def service(self, service: Service) -> ObservedService:
        """Return the facts of one service."""
        return self.agent if service is Service.AGENT else self.bridge

    def with_service(self, service: Service, facts: ObservedService) -> ObservedProject:
        """Return the project with other facts of one service."""
        return replace(self, agent=facts) if service is Service.AGENT else replace(self, bridge=facts)
