"""Decide what to do next for one project: pure, and the same for every engine.

The same view gives the same plan, a converged project plans nothing, only a tombstone plans a destroy, and a service is
never started while anything of an earlier run may live. What an engine needs before a service runs is its `Recipe`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reconciler.core import restarts
from reconciler.core.actions import Action, AwaitReady, MoveToTrash, RemoveSpec, StartService, StopService
from reconciler.core.observed import Health, Phase, Service
from reconciler.core.reasons import Reason
from reconciler.core.spec import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.core.observed import Exit, Ledger, Now, ObservedProject, ObservedService
    from reconciler.core.spec import Spec

RESYNC_BLOCKED: Final = 60.0
"""Seconds after which a project that waits for a person is observed again unasked."""
RESYNC_ENDING: Final = 1.0
"""Seconds after which an ending service is observed again, should its end go unnoticed."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Why it cannot go on now, what the user must do, and when to observe again unasked."""

    reason: Reason
    message: str
    after: float = RESYNC_BLOCKED
    stalled: bool = True
    """Whether only a person can end it; else time does."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Actions in order, and what stands in the way of more."""

    actions: tuple[Action, ...] = ()
    hold: Hold | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An engine's own steps to run a project, as far as they can be seen from here."""

    before: tuple[Action, ...] = ()
    """What comes before the services."""
    hold: Hold | None = None
    """What stands in the way of more steps."""
    services: bool = True
    """Whether the services come next, or something else has to be there first."""
    no_start: Mapping[Service, Hold | None] = field(default_factory=dict)
    """Services that cannot be started now, and why; None: a step of `before` ends that."""
    after: tuple[Action, ...] = ()
    """What comes after the services."""


def no_recipe(_view: View) -> Recipe:
    """Return no steps: of an engine that needs none before a service."""
    return Recipe()


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything a decision may depend on."""

    spec: Spec
    facts: ObservedProject
    ledger: Ledger
    now: Now
    recipe: Callable[[View], Recipe] = no_recipe
    """Of the engine. Pure."""
    wedged_after: float = 60.0
    """Seconds of silence without processor use after which a service is restarted."""


def make_plan(view: View) -> Plan:
    """Return the way from what was observed to what is desired."""
    match view.spec.wanted:
        case State.RUNNING:
            return _run(view)
        case State.STOPPED:
            return Plan(actions=stop_all(view.facts, "stopped is wanted"))
        case State.ABSENT:
            return _destroy(view)


def stop_all(facts: ObservedProject, cause: str) -> tuple[Action, ...]:
    """Return the stops of what lives, the bridge first: nobody should talk to an agent that is about to go."""
    services = (Service.BRIDGE, Service.AGENT)
    return tuple(StopService(service=service, cause=cause) for service in services if facts.service(service).alive)


def _destroy(view: View) -> Plan:
    facts = view.facts
    work_at_risk = facts.work_at_risk or ()
    if facts.work and facts.work_at_risk is None and not view.spec.discard_unpushed:
        return Plan(hold=Hold(reason=Reason.OBSERVING, message="looking for unpushed work", after=0.0, stalled=False))
    if work_at_risk and not view.spec.discard_unpushed:
        message = (
            f"cannot destroy {facts.name}: this would be lost: {'; '.join(work_at_risk)}; "
            "push it, or set discard_unpushed: true to destroy all the same"
        )
        return Plan(hold=Hold(reason=Reason.DESTROY_BLOCKED, message=message))
    stops = stop_all(facts, "destroy is wanted")
    if stops:
        return Plan(actions=stops)  # what they did in their last seconds is observed before anything is moved
    actions: tuple[Action, ...] = ()
    if facts.sandbox or facts.leftovers:
        actions += (MoveToTrash(cause="destroy is wanted"),)
    if facts.removable_spec:
        actions += (RemoveSpec(cause="the destroy is complete"),)
    return Plan(actions=actions)


def _run(view: View) -> Plan:
    """Return the engine's steps round the services, up to the first that somebody else has to take."""
    recipe = view.recipe(view)
    if not recipe.services:
        return Plan(actions=recipe.before + recipe.after, hold=recipe.hold)
    agent, bridge = (_service(view, recipe, service) for service in (Service.AGENT, Service.BRIDGE))
    actions = recipe.before + agent.actions + bridge.actions + recipe.after
    return Plan(actions=actions, hold=recipe.hold or agent.hold or bridge.hold)


def ending(service: Service) -> Hold:
    """Return the wait for what is left of a run. To stop it too would make a crash look asked for."""
    message = f"the rest of the last run of the {service} is ending"
    return Hold(reason=Reason.ENDING, message=message, after=RESYNC_ENDING, stalled=False)


def _service(view: View, recipe: Recipe, service: Service) -> Plan:
    """Plan one service: every phase has its answer."""
    facts = view.facts.service(service)
    match facts.phase:
        case Phase.NEVER:
            return _start(recipe, service, "it never ran")
        case Phase.EXITED:
            return _start_again(view, recipe, service, facts.exit)
        case Phase.ENDING | Phase.ORPHANED:
            return Plan()  # the recipe has planned what it needs
        case Phase.RUNNING:
            return _keep(view, service)


def _keep(view: View, service: Service) -> Plan:
    facts = view.facts.service(service)
    if outdated(facts):
        cause = "what it was started with has changed"
        return Plan(actions=(StopService(service=service, cause=cause), StartService(service=service, cause=cause)))
    match facts.probe.health:
        case Health.READY:
            return _renew(service, facts.renewal) if facts.renewal and facts.probe.idle else Plan()
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


def _renew(service: Service, renewal: str) -> Plan:
    cause = f"{renewal}, and it is idle"
    return Plan(actions=(StopService(service=service, cause=cause), StartService(service=service, cause=cause)))


def _unresponsive(view: View, service: Service) -> Plan:
    """Plan for a service that does not answer. Slow is no reason to end it; silent and idle for long is."""
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


def _start(recipe: Recipe, service: Service, cause: str) -> Plan:
    if service in recipe.no_start:
        return Plan(hold=recipe.no_start[service])
    return Plan(actions=(StartService(service=service, cause=cause),))


def _start_again(view: View, recipe: Recipe, service: Service, ended: Exit | None) -> Plan:
    record = view.ledger.restart(service)
    if ended is None or (ended.asked and ended.run_id != record.counted):
        return _start(recipe, service, "running is wanted")
    if record.waived == ended.run_id:
        return _start(recipe, service, "running is wanted again")
    if ended.boot_id != view.now.boot_id:
        return _start(recipe, service, "the machine was restarted")
    facts = view.facts.service(service)
    if facts.wanted_digest and facts.digest != facts.wanted_digest:
        return _start(recipe, service, "what it is started with has changed")
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
    return _start(recipe, service, f"it {how}")


def outdated(facts: ObservedService) -> bool:
    """Return whether it runs with other inputs than it would be started with now."""
    return facts.phase is Phase.RUNNING and bool(facts.wanted_digest) and facts.digest != facts.wanted_digest
