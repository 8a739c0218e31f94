"""What a machine needs before a project's services can run on it: pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reconciler.core import env_keys, port_rules
from reconciler.core.actions import Action, StopService
from reconciler.core.observed import Phase, Service
from reconciler.core.plan import Hold, Plan, Recipe, ending, outdated, stop_all
from reconciler.core.reasons import Reason
from reconciler.engines.local import facts as local
from reconciler.engines.local.actions import (
    AdoptService,
    ApplyLimits,
    CheckoutRef,
    CloneRepo,
    GenerateKey,
    PrepareSandbox,
    ProvideToolchain,
    ReservePort,
    WriteSecrets,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.core.plan import View
    from reconciler.engines.local.facts import LocalFacts, LocalService

SECRETS: Final = (env_keys.PASSWORD, env_keys.TOKEN)
"""Keys of a `.env` for which there is a command."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a step may depend on: the view, its local part, and two settings of this controller."""

    view: View
    facts: LocalFacts
    development: bool
    """Whether secrets are made where there are none."""
    ports: Mapping[str, tuple[int, int]]
    """By service: the range in force, in which a fixed port must lie."""

    def service(self, service: Service) -> LocalService:
        """Return the facts of one service."""
        return local.process(self.view.facts.service(service))


def recipe(view: View, *, development: bool = False, ports: Mapping[str, tuple[int, int]] = port_rules.PORTS) -> Recipe:
    """Return the steps round the services of a project.

    Args:
        view: of the project.
        development: whether secrets are made where there are none.
        ports: by service, the range in force, in which a fixed port must lie.
    """
    site = Site(view=view, facts=local.details(view.facts), development=development, ports=ports)
    actions: list[Action] = []
    hold: Hold | None = None
    for step in (_rescue, _sandbox, _secrets, _confinement, _limits, _key, _clone, _toolchain, _ports):
        result = step(site)
        actions += result.actions
        hold = hold or result.hold
        if result.hold is not None and (step in _GATES or not site.facts.repo.cloned):
            return Recipe(before=tuple(actions), hold=hold, services=False)
    return Recipe(
        before=tuple(actions), hold=hold, services=_has_ports(site), no_start=_no_start(site), after=_ref(site)
    )


def _rescue(site: Site) -> Plan:
    """Deal with what is left of earlier runs first: it needs neither secrets nor a clone, only care."""
    actions: list[Action] = []
    hold: Hold | None = None
    for service in Service:
        facts = site.service(service)
        if facts.phase is Phase.ENDING:
            hold = ending(service)  # its keeper does that by itself
        elif facts.phase is Phase.ORPHANED and facts.pid is None:
            actions.append(StopService(service=service, cause="its last run left processes behind"))
        elif facts.phase is Phase.ORPHANED:
            actions.append(AdoptService(service=service, cause="its keeper is gone"))
    return Plan(actions=tuple(actions), hold=hold)


def _sandbox(site: Site) -> Plan:
    return Plan() if site.facts.prepared else Plan(actions=(PrepareSandbox(cause="there is no sandbox yet"),))


def _secrets(site: Site) -> Plan:
    env, name = site.facts.env, site.view.facts.name
    if not env.exists:
        if site.development:
            return Plan(actions=(WriteSecrets(cause="there is no .env, and development mode makes one"),))
        message = (
            f"cannot start {name} without its secrets: {env.path} is missing; create it outside the chat with: "
            f"opencode-manager secrets {name}"
        )
        return Plan(hold=Hold(reason=Reason.WAITING_FOR_SECRETS, message=message))
    if env.problems:
        secrets = all(any(key in problem for key in SECRETS) for problem in env.problems)
        how = f"with: opencode-manager secrets {name}" if secrets else "in that file"
        message = f"{'; '.join(env.problems)}; fix it outside the chat {how}"
        return Plan(hold=Hold(reason=Reason.WAITING_FOR_SECRETS, message=message))
    return Plan()


def _key(site: Site) -> Plan:
    key = site.facts.key
    if not key.needed:
        return Plan()
    if key.problem:
        return Plan(hold=Hold(reason=Reason.KEY_INVALID, message=key.problem))
    if not key.exists and key.generated:
        return Plan(actions=(GenerateKey(cause="there is no deploy key yet"),))
    return Plan()


def _clone(site: Site) -> Plan:
    repo, url = site.facts.repo, site.view.spec.git.url
    if repo.problem:
        return Plan(hold=Hold(reason=Reason.REPO_BROKEN, message=repo.problem))
    if not repo.cloned:
        stops = stop_all(site.view.facts, "its clone is gone")
        return Plan(actions=(*stops, CloneRepo(cause="there is no clone yet")))
    if repo.url != url and not repo.moved:
        message = (
            f"cannot change git.url of {site.view.facts.name}: its clone was made from {repo.url}; set it back, or "
            "destroy the project and start it again; if it is the same repository at another place, say so in its "
            f"clone with: git remote set-url origin {shlex.quote(url)}"
        )
        return Plan(hold=Hold(reason=Reason.GIT_URL_CHANGED, message=message))
    return Plan()


def _toolchain(site: Site) -> Plan:
    toolchain = site.facts.toolchain
    if site.service(Service.AGENT).alive and not outdated(site.service(Service.AGENT)):
        return Plan()
    if toolchain.problem:
        return Plan(hold=Hold(reason=Reason.TOOLCHAIN_INVALID, message=toolchain.problem))
    if not toolchain.path:
        return Plan(actions=(ProvideToolchain(version=toolchain.version, cause="the agent's program is missing"),))
    return Plan()


def _confinement(site: Site) -> Plan:
    if site.service(Service.AGENT).alive and not outdated(site.service(Service.AGENT)):
        return Plan()
    if problem := site.facts.confinement.problem:
        return Plan(hold=Hold(reason=Reason.CONFINEMENT_UNAVAILABLE, message=problem))
    return Plan()


def _limits(site: Site) -> Plan:
    limits, services = site.facts.limits, [site.service(each) for each in Service]
    if limits.outdated and any(each.phase is Phase.RUNNING for each in services):
        return Plan(actions=(ApplyLimits(cause="its limits have changed"),))
    if limits.problem and not all(each.alive and not outdated(each) for each in services):
        return Plan(hold=Hold(reason=Reason.LIMITS_UNAVAILABLE, message=limits.problem))
    return Plan()


def _ports(site: Site) -> Plan:
    actions: list[Action] = []
    hold: Hold | None = None
    for service in Service:
        facts = site.service(service)
        fixed, kept = facts.fixed_port, site.view.ledger.ports.get(service.value)
        if _misplaced(site, service):
            hold = hold or _outside(site, service)
        elif fixed is not None and fixed != kept:
            actions.append(ReservePort(service=service, fixed=fixed, cause=f"port {fixed} is asked for"))
        elif kept is None:
            actions.append(ReservePort(service=service, cause="no port was picked yet"))
        elif _lost_before_use(facts):
            actions.append(ReservePort(service=service, cause=f"port {kept} was taken before it was ever used"))
    return Plan(actions=tuple(actions), hold=hold)


def _misplaced(site: Site, service: Service) -> bool:
    """Tell whether a port outside the range in force is asked for. A port in use stays: ranges may move."""
    low, high = site.ports[service.value]
    fixed = site.service(service).fixed_port
    return fixed is not None and fixed != site.view.ledger.ports.get(service.value) and not low <= fixed <= high


def _outside(site: Site, service: Service) -> Hold:
    fixed = site.service(service).fixed_port or 0
    section = site.view.spec.agent if service is Service.AGENT else site.view.spec.bridge
    variable = env_keys.AGENT_PORT if service is Service.AGENT else env_keys.BRIDGE_PORT
    where = f"{service}.port of the spec" if section.port == fixed else f"{variable} in {site.facts.env.path}"
    message = (
        f"{port_rules.refused_port(fixed, site.ports[service.value])} ({where}), "
        f"or move that range with {port_rules.range_variable(service)}"
    )
    return Hold(reason=Reason.PORT_OUT_OF_RANGE, message=message)


def _has_ports(site: Site) -> bool:
    """Tell whether each service can have a port: the bridge is given both."""
    return not any(_misplaced(site, each) and each.value not in site.view.ledger.ports for each in Service)


def _no_start(site: Site) -> dict[Service, Hold | None]:
    """Return which services have a stranger on their port."""
    taken = [service for service in Service if site.service(service).port_holder]
    return {each: None if _lost_before_use(site.service(each)) else _taken(site, each) for each in taken}


def _taken(site: Site, service: Service) -> Hold:
    facts = site.service(service)
    port = facts.fixed_port or site.view.ledger.ports.get(service.value)
    message = (
        f"cannot start the {service} of {site.view.facts.name}: port {port} is taken by {facts.port_holder}; "
        f"end that, or set {service}.port in the spec to another port"
    )
    return Hold(reason=Reason.PORT_TAKEN, message=message, after=10.0)


def _lost_before_use(facts: LocalService) -> bool:
    """Tell whether a stranger sits on a port that nobody asked for and nobody knows yet."""
    return bool(facts.port_holder) and facts.fixed_port is None and facts.phase is Phase.NEVER


def _ref(site: Site) -> tuple[Action, ...]:
    wanted = site.view.spec.git.ref
    if site.facts.repo.cloned and site.view.ledger.ref != wanted:
        return (CheckoutRef(ref=wanted, cause=f"git.ref is now {wanted or 'the default branch'}"),)
    return ()


_GATES: Final = frozenset({_secrets, _toolchain, _confinement, _limits})
"""Steps without which no later one makes sense. With a clone in place a hold of any other leaves the rest going."""
