"""What to do next: the decision, pure.

1. The same spec, facts, ledger and clock give the same plan. Nothing is looked at, nothing is done here.
2. A plan is the whole way to go as far as it can be seen from here. Each action is idempotent; after they are done
   everything is looked at again, so a wrong guess costs one more pass.
3. A converged project plans nothing. Only a tombstone plans a destroy. A service is never started while anything of an
   earlier run may live.

Belongs here: the order of things and the reason for each. Does not belong here: how anything is seen or done.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reconciler.core import port_rules, restarts
from reconciler.core.actions import (
    Action,
    AdoptService,
    AwaitReady,
    CheckoutRef,
    CloneRepo,
    GenerateKey,
    MoveToTrash,
    PrepareSandbox,
    ProvideToolchain,
    RemoveSpec,
    ReservePort,
    StartService,
    StopService,
    WriteSecrets,
)
from reconciler.core.observed import Health, Phase, Service
from reconciler.core.reasons import Reason
from reconciler.core.spec import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.core.observed import Exit, Ledger, Now, ProjectFacts, ServiceFacts
    from reconciler.core.spec import Spec

SECRETS: Final = ("OPENCODE_SERVER_PASSWORD", "MCP_TOOL_BEARER_TOKEN")
"""Keys of a `.env` for which there is a command."""
SLOW_LOOK: Final = 60.0
"""Seconds after which a project that waits for a person is looked at again unasked."""
ENDING_LOOK: Final = 1.0
"""Seconds after which an ending service is looked at again, should its keeper's exit go unnoticed."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Why it cannot go on now, what the user must do, and when to look again by ourselves."""

    reason: Reason
    message: str
    after: float = SLOW_LOOK
    stalled: bool = True
    """Whether only a person can end it; else time does."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Actions in order, and what stands in the way of more."""

    actions: tuple[Action, ...] = ()
    hold: Hold | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything a decision may depend on."""

    spec: Spec
    facts: ProjectFacts
    ledger: Ledger
    now: Now
    development: bool = False
    wedged_after: float = 60.0
    """Seconds of silence without processor use after which a service is started anew."""
    ports: Mapping[str, tuple[int, int]] = field(default_factory=lambda: port_rules.PORTS)
    """By service: the range in force, in which a fixed port must lie."""


def make_plan(view: View) -> Plan:
    """The way from what was seen to what is wanted."""
    match view.spec.wanted:
        case State.RUNNING:
            return _run(view)
        case State.STOPPED:
            return Plan(actions=_stop_all(view.facts, "stopped is wanted"))
        case State.ABSENT:
            return _destroy(view)


def _stop_all(facts: ProjectFacts, cause: str) -> tuple[Action, ...]:
    """The bridge first: nobody should talk to an agent that is about to go."""
    services = (Service.BRIDGE, Service.AGENT)
    return tuple(StopService(service=service, cause=cause) for service in services if facts.service(service).alive)


def _destroy(view: View) -> Plan:
    facts = view.facts
    losses = facts.repo.losses or ()
    there = facts.repo.cloned or bool(facts.repo.problem)
    if there and facts.repo.losses is None and not view.spec.discard_unpushed:
        return Plan(hold=Hold(reason=Reason.LOOKING, message="looking for unpushed work", after=0.0, stalled=False))
    if losses and not view.spec.discard_unpushed:
        message = (
            f"cannot destroy {facts.name}: this would be lost: {'; '.join(losses)}; "
            "push it, or set discard_unpushed: true to destroy all the same"
        )
        return Plan(hold=Hold(reason=Reason.DESTROY_BLOCKED, message=message))
    stops = _stop_all(facts, "destroy is wanted")
    if stops:
        return Plan(actions=stops)  # what they did in their last seconds is looked at before anything is moved
    actions: tuple[Action, ...] = ()
    if facts.sandbox or facts.leftover_keys:
        actions += (MoveToTrash(cause="destroy is wanted"),)
    if facts.removable_spec:
        actions += (RemoveSpec(cause="the destroy is complete"),)
    return Plan(actions=actions)


def _run(view: View) -> Plan:
    """Step after step, up to the first that somebody else has to take."""
    actions: list[Action] = []
    hold: Hold | None = None
    for step in (_rescue, _sandbox, _secrets, _key, _clone, _toolchain, _ports, _agent, _bridge, _ref):
        result = step(view)
        actions += result.actions
        hold = hold or result.hold
        if result.hold is not None and (step in _GATES or not view.facts.repo.cloned):
            break
    return Plan(actions=tuple(actions), hold=hold)


def _rescue(view: View) -> Plan:
    """What is left of earlier runs comes first: it needs no secrets and no clone, only care."""
    actions: list[Action] = []
    hold: Hold | None = None
    for service in Service:
        facts = view.facts.service(service)
        if facts.phase is Phase.ENDING:
            # Its keeper does that by itself, and its exit is noticed. Asking it to would make a crash look asked for.
            message = f"the rest of the last run of the {service} is ending"
            hold = Hold(reason=Reason.ENDING, message=message, after=ENDING_LOOK, stalled=False)
        elif facts.phase is Phase.ORPHANED and facts.pid is None:
            actions.append(StopService(service=service, cause="its last run left processes behind"))
        elif facts.phase is Phase.ORPHANED:
            actions.append(AdoptService(service=service, cause="its keeper is gone"))
    return Plan(actions=tuple(actions), hold=hold)


def _sandbox(view: View) -> Plan:
    return Plan() if view.facts.prepared else Plan(actions=(PrepareSandbox(cause="there is no sandbox yet"),))


def _secrets(view: View) -> Plan:
    env, name = view.facts.env, view.facts.name
    if not env.exists:
        if view.development:
            return Plan(actions=(WriteSecrets(cause="there is no .env, and development mode makes one"),))
        message = (
            f"cannot start {name} without its secrets: {env.path} is missing; create it outside the chat with: "
            f"opencode-manager secrets {name}"
        )
        return Plan(hold=Hold(reason=Reason.WAITING_FOR_SECRETS, message=message))
    if env.problems:
        secrets = all(any(key in problem for key in SECRETS) for problem in env.problems)
        how = f"with: opencode-manager secrets {name}" if secrets else "in that file"
        message = f"{'; '.join(env.problems)}; mend it outside the chat {how}"
        return Plan(hold=Hold(reason=Reason.WAITING_FOR_SECRETS, message=message))
    return Plan()


def _key(view: View) -> Plan:
    key = view.facts.key
    if not key.needed:
        return Plan()
    if key.problem:
        return Plan(hold=Hold(reason=Reason.KEY_INVALID, message=key.problem))
    if not key.exists and key.generated:
        return Plan(actions=(GenerateKey(cause="there is no deploy key yet"),))
    return Plan()


def _clone(view: View) -> Plan:
    repo, url = view.facts.repo, view.spec.git.url
    if repo.problem:
        return Plan(hold=Hold(reason=Reason.REPO_BROKEN, message=repo.problem))
    if not repo.cloned:
        stops = _stop_all(view.facts, "its clone is gone")
        return Plan(actions=(*stops, CloneRepo(cause="there is no clone yet")))
    if repo.url != url and not repo.moved:
        message = (
            f"cannot change git.url of {view.facts.name}: its clone was made from {repo.url}; set it back, or destroy "
            "the project and start it again; if it is the same repository at another place, say so in its clone with: "
            f"git remote set-url origin {shlex.quote(url)}"
        )
        return Plan(hold=Hold(reason=Reason.GIT_URL_CHANGED, message=message))
    return Plan()


def _toolchain(view: View) -> Plan:
    toolchain = view.facts.toolchain
    if view.facts.agent.alive and not _outdated(view.facts.agent):
        return Plan()
    if toolchain.problem:
        return Plan(hold=Hold(reason=Reason.TOOLCHAIN_INVALID, message=toolchain.problem))
    if not toolchain.path:
        return Plan(actions=(ProvideToolchain(version=toolchain.version, cause="the agent's program is missing"),))
    return Plan()


def _ports(view: View) -> Plan:
    actions: list[Action] = []
    hold: Hold | None = None
    for service in Service:
        facts = view.facts.service(service)
        fixed, kept = facts.fixed_port, view.ledger.ports.get(service.value)
        if _misplaced(view, service):
            hold = hold or _outside(view, service)
        elif fixed is not None and fixed != kept:
            actions.append(ReservePort(service=service, fixed=fixed, cause=f"port {fixed} is asked for"))
        elif kept is None:
            actions.append(ReservePort(service=service, cause="no port was picked yet"))
        elif _lost_before_use(facts):
            actions.append(ReservePort(service=service, cause=f"port {kept} was taken before it was ever used"))
    return Plan(actions=tuple(actions), hold=hold)


def _misplaced(view: View, service: Service) -> bool:
    """Whether a port is asked for outside of the range in force. One that it has already, it keeps: ranges may move."""
    low, high = view.ports[service.value]
    fixed = view.facts.service(service).fixed_port
    return fixed is not None and fixed != view.ledger.ports.get(service.value) and not low <= fixed <= high


def _outside(view: View, service: Service) -> Hold:
    fixed = view.facts.service(service).fixed_port or 0
    section = view.spec.agent if service is Service.AGENT else view.spec.bridge
    variable = "OPENCODE_PORT" if service is Service.AGENT else "MCP_TOOL_PORT"
    where = f"{service}.port of the spec" if section.port == fixed else f"{variable} in {view.facts.env.path}"
    message = (
        f"{port_rules.refused_port(fixed, view.ports[service.value])} ({where}), "
        f"or move that range with {port_rules.range_variable(service)}"
    )
    return Hold(reason=Reason.PORT_OUT_OF_RANGE, message=message)


def _agent(view: View) -> Plan:
    return _service(view, Service.AGENT)


def _bridge(view: View) -> Plan:
    return _service(view, Service.BRIDGE)


def _service(view: View, service: Service) -> Plan:
    """One service: every phase has its answer."""
    if any(_misplaced(view, each) and each.value not in view.ledger.ports for each in Service):
        return Plan()  # one can have no port, and the bridge is given both
    facts = view.facts.service(service)
    match facts.phase:
        case Phase.NEVER:
            return _start(view, service, "it never ran")
        case Phase.EXITED:
            return _start_again(view, service, facts.exit)
        case Phase.ENDING | Phase.ORPHANED:
            return Plan()  # _rescue has planned what it needs
        case Phase.RUNNING:
            return _keep(view, service)


def _keep(view: View, service: Service) -> Plan:
    facts = view.facts.service(service)
    if _outdated(facts):
        cause = "what it was started with has changed"
        return Plan(actions=(StopService(service=service, cause=cause), StartService(service=service, cause=cause)))
    match facts.probe.health:
        case Health.READY:
            return Plan()
        case Health.UNKNOWN:
            return Plan(actions=(AwaitReady(service=service, cause="it has not proved itself ready yet"),))
        case Health.UNRESPONSIVE:
            return _unresponsive(view, service)
        case Health.CONFIG_INVALID:
            return Plan(hold=Hold(reason=Reason.CONFIG_INVALID, message=facts.probe.detail, after=10.0))
        case Health.UNPROTECTED:
            return Plan(hold=Hold(reason=Reason.UNPROTECTED, message=facts.probe.detail, after=10.0))
        case Health.REFUSING:
            return Plan(hold=Hold(reason=Reason.AUTH_FAILED, message=facts.probe.detail, after=10.0))


def _unresponsive(view: View, service: Service) -> Plan:
    """Slow is no reason to end it; silent and idle for long is."""
    probe = view.facts.service(service).probe
    message = f"the {service} has missed {probe.misses} health probes: {probe.detail}"
    # Until it was asked last: it may have come back since, while we stood still or were not to ask it.
    quiet = 0.0 if probe.quiet_since is None else probe.at - probe.quiet_since
    if quiet >= view.wedged_after:
        cause = f"it is wedged: silent for {quiet:.0f} s without using the processor"
        if view.spec.restart.policy == "never":
            message = f"{message}; {cause}; restart.policy is never; end that with: opencode-manager restart"
            return Plan(hold=Hold(reason=Reason.WEDGED, message=message, after=10.0))
        stop = StopService(service=service, cause=cause, wedged=True)
        return Plan(actions=(stop, StartService(service=service, cause=cause)))
    return Plan(hold=Hold(reason=Reason.UNRESPONSIVE, message=message, after=1.0, stalled=False))


def _start(view: View, service: Service, cause: str) -> Plan:
    facts = view.facts.service(service)
    if _lost_before_use(facts):
        return Plan()  # another is picked first
    if facts.port_holder:
        port = facts.fixed_port or view.ledger.ports.get(service.value)
        message = (
            f"cannot start the {service} of {view.facts.name}: port {port} is taken by {facts.port_holder}; "
            f"end that, or set {service}.port in the spec to another port"
        )
        return Plan(hold=Hold(reason=Reason.PORT_TAKEN, message=message, after=10.0))
    return Plan(actions=(StartService(service=service, cause=cause),))


def _lost_before_use(facts: ServiceFacts) -> bool:
    """Whether a stranger sits on a port that nobody asked for and nobody was told of."""
    return bool(facts.port_holder) and facts.fixed_port is None and facts.phase is Phase.NEVER


def _start_again(view: View, service: Service, ended: Exit | None) -> Plan:
    record = view.ledger.restart(service)
    if ended is None or (ended.asked and ended.run_id != record.counted):
        return _start(view, service, "running is wanted")
    if record.waived == ended.run_id:
        return _start(view, service, "running is wanted again")
    if ended.boot_id != view.now.boot_id:
        return _start(view, service, "the machine was restarted")
    facts = view.facts.service(service)
    if facts.wanted_digest and facts.digest != facts.wanted_digest:
        return _start(view, service, "what it is started with has changed")
    how = f"was ended after {record.last_exit}" if ended.asked else f"ended with {ended.text}"
    if not ended.asked and not restarts.wants_restart(view.spec.restart.policy, ended):
        message = f"the {service} ended with {ended.text} and restart.policy is {view.spec.restart.policy}"
        return Plan(hold=Hold(reason=Reason.EXITED, message=f"{message}; start it with: opencode-manager restart"))
    left = restarts.wait_left(record, view.now)
    if left > 0:
        parked = record.streak >= restarts.PARKED_STREAK
        message = (
            f"the {service} {how}, {record.streak} times in a row; next start in {left:.0f} s; "
            f"see: opencode-manager logs {view.facts.name} {service}"
        )
        return Plan(hold=Hold(reason=Reason.CRASH_LOOP, message=message, after=left, stalled=parked))
    return _start(view, service, f"it {how}")


def _ref(view: View) -> Plan:
    wanted = view.spec.git.ref
    if view.facts.repo.cloned and view.ledger.ref != wanted:
        return Plan(actions=(CheckoutRef(ref=wanted, cause=f"git.ref is now {wanted or 'the default branch'}"),))
    return Plan()


def _outdated(facts: ServiceFacts) -> bool:
    """Whether it runs with other inputs than it would be started with now."""
    return facts.phase is Phase.RUNNING and bool(facts.wanted_digest) and facts.digest != facts.wanted_digest


_GATES: Final = frozenset({_secrets, _toolchain})
"""Steps without which no later one makes sense. With a clone in place a hold of any other leaves the rest going."""
