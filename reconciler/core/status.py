"""Desired and actual, side by side, with the reason: computed, pure.

Ready: it is as desired. Reconciling: something is being done, or will be without a person. Stalled: it cannot go on
until somebody acts. A condition's `since` moves only when its status changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.core import activity, kinds, needs, plain_text
from reconciler.core.activity import AgentActivity
from reconciler.core.observed import Health, Phase, Service
from reconciler.core.reasons import Reason
from reconciler.core.spec import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.core.needs import Need
    from reconciler.core.observed import Ledger, ObservedLimit, ObservedProject, ObservedService, PendingRequest
    from reconciler.core.plan import Plan
    from reconciler.core.spec import Spec

_TO_ANSWER: Final = "; to answer: opencode-manager needs, or opencode_needs in a chat"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One of Ready, Reconciling, Stalled."""

    status: bool
    reason: Reason
    message: str = ""
    since: float = 0.0
    """Wall clock, seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One service, for people."""

    state: str
    """running, starting, unresponsive, orphaned, ending, stopped or crashed."""
    pid: int | None = None
    port: int | None = None
    url: str | None = None
    restarts: int = 0
    last_exit: str = ""
    started: float | None = None
    last_health_check: float | None = None


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is going on at this moment: the action in work or the outcome that stands in the way."""

    reason: Reason
    message: str = ""
    stalled: bool = False


@dataclass(frozen=True, kw_only=True)
class ProjectStatus:
    """One project. Times are wall clock seconds since the epoch."""

    name: str
    desired: str
    actual: str
    kind: str = kinds.DEFAULT
    """Of the agent."""
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: Condition
    reconciling: Condition
    stalled: Condition
    reason: Reason
    message: str
    generation: int
    observed_generation: int
    agent: ServiceStatus
    bridge: ServiceStatus
    git_url: str = ""
    git_ref: str | None = None
    sandbox: str = ""
    confinement: str = ""
    handed_over: str = ""
    """Of the agent that runs."""
    limits: tuple[ObservedLimit, ...] = ()
    public_key: str | None = None
    public_key_path: str | None = None
    warnings: tuple[str, ...] = ()
    not_enforced: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    activity: AgentActivity = field(default_factory=AgentActivity)
    needs: tuple[Need, ...] = ()
    """What waits for a person, the most urgent first."""
    spec_digest: str = ""
    spec_version: str = ""
    """Names the state of the spec file that this was computed from; a tool waits until it is the one it wrote."""
    observed: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, and text that is safe to show.

        Computed at every observation, hence not by `asdict`, which copies all of it (0.3 ms).
        """
        parts = ("ready", "reconciling", "stalled", "agent", "bridge", "activity")
        data = {**vars(self), **{part: vars(getattr(self, part)) for part in parts}, "needs": ()}
        data["limits"] = [vars(limit) for limit in self.limits]
        plain: dict[str, Any] = plain_text.document(data)
        return {**plain, "needs": [need.to_dict() for need in self.needs]}


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What an earlier controller published of a project: only for the times since when something is so."""

    activity: AgentActivity | None = None
    needs: Mapping[str, float] = field(default_factory=dict)
    """By id."""

    @classmethod
    def of(cls, published: Mapping[str, Any]) -> Remembered:
        """Return it from a published status, of any version."""
        try:
            known = AgentActivity(**{**published["activity"], "state": activity.Doing(published["activity"]["state"])})
            return cls(activity=known, needs={need["id"]: float(need["since"]) for need in published["needs"]})
        except (LookupError, TypeError, ValueError):
            return cls()


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Everything a status is computed from."""

    name: str
    spec: Spec | None
    """The spec in force; None when none was ever accepted."""
    facts: ObservedProject
    ledger: Ledger | None
    plan: Plan
    settled: bool
    """Whether a pass over this spec and these facts came to its end."""
    observed_generation: int
    note: Note | None = None
    spec_problem: Note | None = None
    spec_version: str = ""
    sandbox: str = ""
    wall: float = 0.0
    warnings: tuple[str, ...] = field(default=())
    remembered: Remembered = field(default_factory=Remembered)


def timeless(status: ProjectStatus) -> ProjectStatus:
    """Return the status without the times of observation: what is left is news when it differs."""
    agent = replace(status.agent, last_health_check=None)
    bridge = replace(status.bridge, last_health_check=None)
    limits = tuple(replace(limit, used=None) for limit in status.limits)
    return replace(status, agent=agent, bridge=bridge, limits=limits, observed=0.0)


def compute(sources: Sources, previous: ProjectStatus | None = None) -> ProjectStatus:
    """Compute the status of one project; `previous` is its last one, for the times of transition."""
    spec, facts, ledger = sources.spec, sources.facts, sources.ledger
    ready, reconciling, stalled = _conditions(sources, previous)
    reason, message = _headline(ready, reconciling, stalled)
    waiting_for_key = stalled.status and stalled.reason == Reason.WAITING_FOR_KEY
    return ProjectStatus(
        name=sources.name,
        desired=spec.state if spec else "unknown",
        actual=actual(facts),
        ready=ready,
        reconciling=reconciling,
        stalled=stalled,
        reason=reason,
        message=message,
        generation=ledger.generation if ledger else 0,
        observed_generation=sources.observed_generation,
        kind=spec.agent.kind if spec else kinds.DEFAULT,
        labels=dict(spec.labels) if spec else {},
        agent=_service(sources, Service.AGENT),
        bridge=_service(sources, Service.BRIDGE),
        git_url=spec.git.url if spec else "",
        git_ref=spec.git.ref if spec else None,
        sandbox=sources.sandbox,
        confinement=facts.confinement,
        handed_over=facts.handed_over,
        limits=facts.limits,
        public_key=facts.public_key or None if waiting_for_key else None,
        public_key_path=facts.public_key_path or None if waiting_for_key else None,
        warnings=facts.warnings + _renewal(facts) + sources.warnings + _interrupted(facts) + facts.agent.probe.plugins,
        not_enforced=spec.not_enforced() if spec else (),
        planned=tuple(f"{action.text}: {action.cause}" for action in sources.plan.actions),
        activity=activity.judge(
            facts, sources.wall, previous.activity if previous else None, sources.remembered.activity
        ),
        needs=_needs(sources, (stalled, reconciling), previous),
        spec_digest=ledger.digest if ledger else "",
        spec_version=sources.spec_version,
        observed=sources.wall,
    )


def _renewal(facts: ObservedProject) -> tuple[str, ...]:
    if not facts.agent.renewal:
        return ()
    return (f"{facts.agent.renewal}: used when the agent is idle, or now with: opencode-manager restart {facts.name}",)


def _needs(sources: Sources, trouble: Sequence[Condition], previous: ProjectStatus | None) -> tuple[Need, ...]:
    probe = sources.facts.agent.probe
    situation = needs.Situation(
        project=sources.name,
        requests=probe.attention,
        interrupted=probe.interrupted or (),
        ended=sources.facts.agent.before,
        notes=tuple(_notes(sources, trouble)),
        public_key=sources.facts.public_key,
    )
    known = {**sources.remembered.needs, **({need.id: need.since for need in previous.needs} if previous else {})}
    return needs.find(situation, sources.wall, known)


def _notes(sources: Sources, trouble: Sequence[Condition]) -> Iterator[tuple[Reason, str]]:
    """Yield why it is not as desired: what a broken spec hides waits for a person all the same."""
    yield from ((one.reason, one.message) for one in trouble if one.status)
    yield from ((one.reason, one.message) for one in (sources.note, sources.plan.hold) if one is not None)


def _interrupted(facts: ObservedProject) -> tuple[str, ...]:
    names = ", ".join(facts.agent.probe.interrupted or ())
    return (f"a restart interrupted the work in {names}; ask the agent there to go on",) if names else ()


def actual(facts: ObservedProject) -> str:
    """Return one word for the actual state."""
    services = (facts.agent, facts.bridge)
    if all(service.ready for service in services):
        return "running"
    if any(service.alive for service in services):
        return "partial"
    return "stopped" if facts.sandbox else "absent"


def _converged(sources: Sources) -> bool:
    spec = sources.spec
    idle = sources.note is None and sources.settled and not sources.plan.actions and sources.plan.hold is None
    if spec is None or not idle or sources.spec_problem is not None:
        return False
    return actual(sources.facts) == "running" if spec.wanted is State.RUNNING else True


def _conditions(sources: Sources, previous: ProjectStatus | None) -> tuple[Condition, Condition, Condition]:
    hold = sources.plan.hold
    trouble = sources.spec_problem or (sources.note if sources.note and sources.note.stalled else None)
    if trouble is None and hold is not None and hold.stalled:
        trouble = Note(reason=hold.reason, message=hold.message)
    if trouble is None and (asked := sources.facts.agent.probe.attention):
        trouble = _waiting(asked)
    work = sources.note if sources.note and not sources.note.stalled else None
    if work is None and hold is not None and not hold.stalled:
        work = Note(reason=hold.reason, message=hold.message)
    if work is None and sources.plan.actions and trouble is None:
        first = sources.plan.actions[0]
        work = Note(reason=first.reason, message=first.cause)
    ready = _ready(sources, trouble, work)
    reconciling = _condition(work, Reason.IDLE)
    stalled = _condition(trouble, Reason.NOT_STALLED)
    return (
        _dated(ready, previous.ready if previous else None, sources.wall),
        _dated(reconciling, previous.reconciling if previous else None, sources.wall),
        _dated(stalled, previous.stalled if previous else None, sources.wall),
    )


def _waiting(asked: Sequence[PendingRequest]) -> Note:
    """Return the most urgent of what waits, and how many more of its sort there are."""
    first = asked[0]
    more = sum(one.reason is first.reason for one in asked) - 1
    message = f"{first.message} (and {more} more)" if more else first.message
    return Note(reason=first.reason, message=message + (_TO_ANSWER if first.id else ""))


def _ready(sources: Sources, trouble: Note | None, work: Note | None) -> Condition:
    if _converged(sources):
        wanted = sources.spec.wanted if sources.spec else State.RUNNING
        reason = {State.RUNNING: Reason.RUNNING, State.STOPPED: Reason.STOPPED, State.ABSENT: Reason.DESTROYED}[wanted]
        message = ""
        if wanted is State.ABSENT and sources.facts.spec_stays:
            message = "the spec file is tracked by git and stays as the tombstone: remove it there"
        return Condition(status=True, reason=reason, message=message)
    why = trouble or work or Note(reason=Reason.OBSERVING)
    return Condition(status=False, reason=why.reason, message=why.message)


def _condition(note: Note | None, otherwise: Reason) -> Condition:
    if note is None:
        return Condition(status=False, reason=otherwise)
    return Condition(status=True, reason=note.reason, message=note.message)


def _dated(condition: Condition, previous: Condition | None, wall: float) -> Condition:
    since = previous.since if previous is not None and previous.status == condition.status else wall
    return Condition(status=condition.status, reason=condition.reason, message=condition.message, since=since)


def _headline(ready: Condition, reconciling: Condition, stalled: Condition) -> tuple[Reason, str]:
    """Pick the one reason for the table: what stalls, else what goes on, else that it is ready."""
    leading = stalled if stalled.status else reconciling if reconciling.status else ready
    return leading.reason, leading.message


def _service(sources: Sources, service: Service) -> ServiceStatus:
    facts, ledger = sources.facts.service(service), sources.ledger
    record = ledger.restart(service) if ledger else None
    return ServiceStatus(
        state=_state(facts),
        pid=facts.details.get("pid") if facts.alive else None,
        port=facts.details.get("port"),
        url=_url(service, facts.known_address),
        restarts=record.count if record else 0,
        last_exit=record.last_exit if record else "",
        started=facts.started_wall if facts.alive else None,
        last_health_check=facts.probe.at_wall or None,
    )


def _url(service: Service, address: str | None) -> str | None:
    return address and address + ("/mcp" if service is Service.BRIDGE else "")


def _state(facts: ObservedService) -> str:
    match facts.phase:
        case Phase.RUNNING:
            states = {Health.READY: "running", Health.UNKNOWN: "starting"}
            return states.get(facts.probe.health, "unresponsive")
        case Phase.ORPHANED | Phase.ENDING:
            return facts.phase.value
        case Phase.EXITED if facts.exit is not None and facts.exit.failed:
            return "crashed"
        case Phase.EXITED | Phase.NEVER:
            return "stopped"
