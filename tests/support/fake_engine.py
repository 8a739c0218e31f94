"""A fake engine: one machine in memory, for tests of the controller that need no process and no real time.

It performs every action the local engine performs and keeps its promises (no second copy, nothing moved away under a
living process), so a test can drive the real reconciler, ledgers and status through any order of faults. Faults are
methods. The same promises are kept on real processes by the battery.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler.core import actions, port_rules
from reconciler.core.actions import Action, Done, Outcome, RequeueAfter, Retry
from reconciler.core.observed import (
    Exit,
    Health,
    Now,
    ObservedProject,
    Phase,
    Probe,
    Service,
)
from reconciler.core.reasons import Reason
from reconciler.core.spec import State, Transport, transport
from reconciler.engines.base import Capability, Events, FingerprintsMayDiffer, Given, ProjectCommand, Secrets, Usage
from reconciler.engines.connection import Connection
from reconciler.engines.local import actions as local
from reconciler.engines.local.facts import (
    EnvFacts,
    KeyFacts,
    LocalFacts,
    LocalService,
    RepoFacts,
    ToolchainFacts,
    with_details,
)
from reconciler.engines.local.recipe import recipe
from reconciler.settings import UserError
from tests.support.answered import AnsweredAgents

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Generator, Mapping, Sequence

    from reconciler.core.findings import Finding
    from reconciler.core.observed import Ledger
    from reconciler.core.plan import Recipe, View
    from reconciler.core.spec import Spec
    from reconciler.state.ledger import Ledgers

FIRST_BOOT: Final = "boot-0"
PORTS: Final = {Service.AGENT: 4100, Service.BRIDGE: 5100}


@dataclass
class Machine:
    """What there is of one project."""

    prepared: bool = False
    secrets: bool = False
    key: bool = False
    cloned_from: str = ""
    toolchain: bool = False
    unpushed: bool = False
    """Work that no remote has."""
    services: dict[Service, LocalService] = field(default_factory=lambda: {each: LocalService() for each in Service})
    strangers: set[Service] = field(default_factory=set)
    """Services whose port somebody else listens on."""
    never_ready: set[Service] = field(default_factory=set)
    """Services that start and do not get ready."""
    edits: int = 0
    """Counts what a person changed beside the spec."""


class Performed(NamedTuple):
    """One action that was begun."""

    name: str
    action: Action
    at: float
    """Seconds on the machine's clock."""


class FakeEngine(AnsweredAgents):
    """Projects in memory.

    Args:
        ledgers: where the engine remembers ports and refs, as the local one does.
        clock: seconds of the machine's clock.
        events: who hears of exits.
    """

    def __init__(self, ledgers: Ledgers, clock: Callable[[], float], events: Events | None = None) -> None:
        self.machines: dict[str, Machine] = {}
        self.done: list[Performed] = []
        """Every action that was begun, in order."""
        self.boot_id = FIRST_BOOT
        self.outcomes: dict[type[Action], list[Outcome | Exception]] = {}
        """How the next actions of a type fail; empty: they succeed."""
        self.gates: dict[type[Action], asyncio.Event] = {}
        """Actions of a type go on only when this is set."""
        self.answers = []
        self.deaf = []
        self.observed = 0
        self.development = True
        """Secrets are made where there are none."""
        self.ports: Mapping[str, tuple[int, int]] = port_rules.PORTS
        """In which a fixed port must lie."""
        self._ledgers = ledgers
        self._clock = clock
        self._events = events or Events()
        self._runs = 0
        self._ports = 0

    # -- the protocol ----------------------------------------------------------------------------------------------

    def now(self) -> Now:
        return Now(boot=self._clock(), boot_id=self.boot_id, wall=1_800_000_000.0 + self._clock())

    async def observe(self, name: str, spec: Spec, ledger: Ledger) -> ObservedProject:
        self.observed += 1
        machine, wanted = self.of(name), spec.restarted_at or "first"
        for service, seen in machine.services.items():
            taken = service in machine.strangers and not seen.alive and service.value in ledger.ports
            fixed = spec.agent.port if service is Service.AGENT else spec.bridge.port
            machine.services[service] = replace(
                seen,
                wanted_digest=wanted,
                fixed_port=fixed,
                kept_port=ledger.ports.get(service.value),
                port_holder="pid 7 (nginx)" if taken else "",
            )
        work_at_risk = ("1 file is not committed",) if machine.unpushed else ()
        facts = ObservedProject(
            name=name,
            sandbox=machine.prepared,
            agent=machine.services[Service.AGENT],
            bridge=machine.services[Service.BRIDGE],
            leftovers=machine.key,
        )
        details = LocalFacts(
            prepared=machine.prepared,
            env=EnvFacts(path=f"/{name}/.env", exists=machine.secrets),
            key=KeyFacts(needed=transport(spec.git.url) is Transport.SSH, exists=machine.key),
            repo=RepoFacts(
                cloned=bool(machine.cloned_from),
                url=machine.cloned_from,
                work_at_risk=work_at_risk if spec.wanted is State.ABSENT and machine.cloned_from else None,
            ),
            toolchain=ToolchainFacts(path="/bin/opencode" if machine.toolchain else "", version="1.18.33"),
        )
        return with_details(facts, details)

    def recipe(self, view: View) -> Recipe:
        return recipe(view, development=self.development, ports=self.ports)

    async def perform(self, name: str, spec: Spec, action: Action) -> Outcome:
        self.done.append(Performed(name, action, self._clock()))
        self._events.progressed(name, action.reason, action.text)
        if gate := self.gates.get(type(action)):
            await gate.wait()
        if failures := self.outcomes.get(type(action)):
            failure = failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        return _PERFORM[type(action)](self, name, spec, action)

    def fingerprint(self, name: str) -> object:
        return self.of(name).edits

    async def watch(self) -> None:
        self._events.publish(FingerprintsMayDiffer())

    def describe(self, name: str) -> str:
        return f"/{name}"

    def names(self) -> frozenset[str]:
        return frozenset(name for name, machine in self.machines.items() if machine.prepared)

    def connect(self, name: str, service: Service) -> Connection | None:
        address = self.service(name, service).address
        return Connection(url=address, secret=f"secret-of-{name}") if address else None

    def program(self, _name: str, _names: Collection[str]) -> str:
        return ""

    def logs(self, name: str, service: Service, *, lines: int, follow: bool = False) -> Generator[bytes, None, None]:
        printed = [b"started\n"] * (self.service(name, service).phase is not Phase.NEVER)
        if not printed:
            raise UserError(f"cannot show the log of {name}: it never ran")
        yield from printed[-lines:]
        while follow:
            yield b""

    def secrets(self, name: str) -> Secrets:
        keys = ("PASSWORD",)
        return Secrets(keys=keys, bad=() if self.of(name).secrets else keys, place=f"/{name}/.env")

    def set_secrets(self, name: str | None, _values: Mapping[str, str]) -> str:
        for one in self.names() if name is None else (name,):
            self.of(one).secrets = True
            self.edit(one)
        return f"/{name}/.env"

    def given(self, name: str) -> Given:  # noqa: ARG002
        return Given()

    def command(self, name: str, argv: Sequence[str]) -> ProjectCommand:
        return ProjectCommand(argv=tuple(argv), env={}, cwd=Path(f"/{name}"))

    def usage(self, _name: str, _service: Service, *, pss: bool = False) -> Usage | None:  # noqa: ARG002
        return None

    def disk(self, name: str) -> int | None:  # noqa: ARG002
        return None

    def findings(self) -> tuple[Finding, ...]:
        return ()

    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.FIXED_PORTS})

    def tidy(self) -> None:
        """Nothing is kept that could be pruned."""

    async def close(self) -> None:
        """Nothing is watched."""

    # -- faults ----------------------------------------------------------------------------------------------------

    def of(self, name: str) -> Machine:
        return self.machines.setdefault(name, Machine())

    def service(self, name: str, service: Service) -> LocalService:
        return self.of(name).services[service]

    def exit(self, name: str, service: Service, code: int | None, *, leaves: bool = False) -> None:
        """End the leader by itself; what it `leaves` its keeper still has to end."""
        phase = Phase.ENDING if leaves else Phase.EXITED
        self._put(name, service, phase=phase, exit=self._ended(name, service, code, asked=False), pid=None)
        self._events.happened(name)

    def empty(self, name: str, service: Service) -> None:
        """Let the keeper finish what an exit left."""
        if self.service(name, service).phase is Phase.ENDING:
            self._put(name, service, phase=Phase.EXITED)
            self._events.happened(name)

    def kill_keeper(self, name: str, service: Service) -> None:
        self._put(name, service, phase=Phase.ORPHANED, keeper_pid=None)

    def probe(self, name: str, service: Service, probe: Probe) -> None:
        """Answer the next observation with this probe."""
        self._put(name, service, probe=probe)

    def forget_probes(self) -> None:
        """Be what a new controller finds: services that have proved themselves to nobody."""
        for name, machine in self.machines.items():
            for service in machine.services:
                self.probe(name, service, Probe())

    def reboot(self) -> None:
        self.boot_id += "+"
        for name, machine in self.machines.items():
            for service, facts in machine.services.items():
                if facts.alive:
                    ended = Exit(run_id=facts.run_id, boot_id="an earlier boot")
                    self._put(name, service, phase=Phase.EXITED, exit=ended, pid=None)

    def edit(self, name: str) -> None:
        self.of(name).edits += 1

    def lose_events(self) -> None:
        """From now on, nobody hears of an exit."""
        self._events = Events()

    # -- what actions do -------------------------------------------------------------------------------------------

    def _prepare(self, name: str, _spec: Spec, _action: local.PrepareSandbox) -> Outcome:
        self.of(name).prepared = True
        return Done()

    def _secrets(self, name: str, _spec: Spec, _action: local.WriteSecrets) -> Outcome:
        self.of(name).secrets = True
        return Done()

    def _key(self, name: str, _spec: Spec, _action: local.GenerateKey) -> Outcome:
        self.of(name).key = True
        return Done()

    def _clone(self, name: str, spec: Spec, _action: local.CloneRepo) -> Outcome:
        self.of(name).cloned_from = spec.git.url
        self._ledgers.update(name, ref=spec.git.ref)
        return Done()

    def _checkout(self, name: str, _spec: Spec, action: local.CheckoutRef) -> Outcome:
        assert self.of(name).cloned_from, "no clone to check out in"
        self._ledgers.update(name, ref=action.ref)
        return Done()

    def _provide(self, name: str, _spec: Spec, _action: local.ProvideToolchain) -> Outcome:
        self.of(name).toolchain = True
        return Done()

    def _reserve(self, name: str, _spec: Spec, action: local.ReservePort) -> Outcome:
        self.of(name).strangers.discard(action.service)  # another port is picked, or the fixed one taken
        self._ports += 1
        ledger = self._ledgers.get(name)
        picked = action.fixed or PORTS[action.service] + self._ports % 90
        self._ledgers.update(name, ports={**(ledger.ports if ledger else {}), action.service.value: picked})
        return Done()

    def _start(self, name: str, spec: Spec, action: actions.StartService) -> Outcome:
        machine, service = self.of(name), action.service
        assert not self.service(name, service).alive, "a second copy"
        assert spec.wanted is State.RUNNING, "started unasked"
        assert machine.cloned_from, "started without a clone"
        assert machine.secrets, "started without its secrets"
        if service in machine.strangers:
            return RequeueAfter(after=0.0, reason=Reason.PORT_TAKEN, message="its port was taken meanwhile")
        self._runs += 1
        self._put(
            name,
            service,
            phase=Phase.RUNNING,
            instance=f"run-{self._runs}",
            pid=self._runs,
            keeper_pid=10_000 + self._runs,
            port=self._port(name, service),
            digest=self.service(name, service).wanted_digest,
            started=self._clock(),
            exit=None,
            probe=Probe(health=Health.READY, at=self._clock()),
        )
        if service in machine.never_ready:  # it is stopped, so that the next start begins from nothing
            self._stop(name, spec, actions.StopService(service=service, cause="it is not ready"))
            return Retry(reason=Reason.NOT_READY, message=f"the {service} was not ready", run_id=f"run-{self._runs}")
        return Done()

    def _port(self, name: str, service: Service) -> int:
        ledger = self._ledgers.get(name)
        return ledger.ports[service.value] if ledger else PORTS[service]

    def _await_ready(self, name: str, _spec: Spec, action: actions.AwaitReady) -> Outcome:
        if self.service(name, action.service).phase is Phase.RUNNING:
            self.probe(name, action.service, Probe(health=Health.READY, at=self._clock()))
        return Done()

    def _adopt(self, name: str, _spec: Spec, action: local.AdoptService) -> Outcome:
        assert self.service(name, action.service).pid is not None, "nobody to adopt"
        self._put(name, action.service, phase=Phase.RUNNING, keeper_pid=20_000)
        return Done()

    def _stop(self, name: str, _spec: Spec, action: actions.StopService) -> Outcome:
        ended = self._ended(name, action.service, None, asked=True)
        self._put(name, action.service, phase=Phase.EXITED, exit=ended, pid=None, keeper_pid=None)
        return Done()

    def _trash(self, name: str, spec: Spec, _action: actions.MoveToTrash) -> Outcome:
        machine = self.of(name)
        assert spec.wanted is State.ABSENT, "moved away unasked"
        assert not any(facts.alive for facts in machine.services.values()), "moved away under a living process"
        assert spec.discard_unpushed or not (machine.unpushed and machine.cloned_from), "work is lost"
        self.machines[name] = Machine(toolchain=machine.toolchain, edits=machine.edits)
        self._ledgers.forget(name)
        return Done()

    def _put(self, name: str, service: Service, **changes: Any) -> None:
        self.of(name).services[service] = replace(self.service(name, service), **changes)

    def _ended(self, name: str, service: Service, code: int | None, *, asked: bool) -> Exit:
        facts, now = self.service(name, service), self._clock()
        return Exit(
            run_id=facts.run_id,
            code=code,
            signal=9 if code is None else None,
            asked=asked,
            at=now,
            boot_id=self.boot_id,
            lived=max(0.0, now - (facts.started or now)),
        )


_PERFORM: Final[dict[type[Action], Callable[[FakeEngine, str, Spec, Any], Outcome]]] = {
    local.PrepareSandbox: FakeEngine._prepare,
    local.WriteSecrets: FakeEngine._secrets,
    local.GenerateKey: FakeEngine._key,
    local.CloneRepo: FakeEngine._clone,
    local.CheckoutRef: FakeEngine._checkout,
    local.ProvideToolchain: FakeEngine._provide,
    local.ReservePort: FakeEngine._reserve,
    actions.StartService: FakeEngine._start,
    actions.AwaitReady: FakeEngine._await_ready,
    local.AdoptService: FakeEngine._adopt,
    actions.StopService: FakeEngine._stop,
    actions.MoveToTrash: FakeEngine._trash,
}
"""Every action but RemoveSpec, which belongs to the specs folder and not to an engine."""


class FakeTombstones:
    """The spec file of a project that is destroyed, in memory."""

    def __init__(self, *, tracked: bool = False) -> None:
        self.there = True
        self.tracked = tracked
        """By git: then it is a person's to remove."""
        self.removed = 0
        self.on_remove: Callable[[], None] = lambda: None

    def look(self, _name: str) -> tuple[bool, bool]:
        return self.there, not self.tracked

    def remove(self, _name: str) -> None:
        self.there = False
        self.removed += 1
        self.on_remove()
