"""A second engine, to prove the seam: a cluster in memory that has no process, no port to bind, no file and no ledger.

It has a step of its own and observed values of its own, and nothing of the local engine. What a controller does with it
it will do with any engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from reconciler.core.actions import Action, AwaitReady, Blocked, Done, MoveToTrash, Outcome, StartService, StopService
from reconciler.core.observed import Exit, Health, Now, ObservedProject, ObservedService, Phase, Probe, Service
from reconciler.core.plan import Recipe
from reconciler.core.reasons import Reason
from reconciler.engines.base import FingerprintsMayDiffer, Given, ProjectCommand, Secrets
from reconciler.engines.connection import Connection
from reconciler.settings import UserError
from tests.support.answered import AnsweredAgents

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from reconciler.core.findings import Finding
    from reconciler.core.observed import Ledger
    from reconciler.core.plan import View
    from reconciler.core.spec import Spec
    from reconciler.engines.base import Capability, Events, Usage

KEYS: Final = ("password",)


@dataclass(frozen=True, kw_only=True)
class Claim(Action):
    """Ask the cluster for a volume."""

    reason: ClassVar[Reason] = Reason.PREPARE_SANDBOX
    failed: ClassVar[Reason] = Reason.PREPARE_SANDBOX_FAILED


@dataclass(frozen=True, kw_only=True)
class Pod(ObservedService):
    """A service of this engine."""

    cluster_ip: str = ""

    @property
    def address(self) -> str | None:
        return f"http://{self.cluster_ip}" if self.alive else None


@dataclass
class Cluster:
    """What outlives an engine."""

    volumes: set[str] = field(default_factory=set)
    pods: dict[tuple[str, Service], Pod] = field(default_factory=dict)
    secrets: dict[str, Mapping[str, str]] = field(default_factory=dict)
    started: int = 0

    def end(self, name: str, service: Service, *, asked: bool) -> None:
        """End a pod that runs."""
        pod = self.pods.get((name, service))
        if pod is not None and pod.alive:
            ended = Exit(run_id=pod.instance, signal=9, asked=asked, boot_id="cluster")
            self.pods[name, service] = replace(pod, phase=Phase.EXITED, exit=ended)


class MemoryEngine(AnsweredAgents):
    """Projects as pods of a cluster in memory."""

    def __init__(self, cluster: Cluster, events: Events) -> None:
        self.cluster = cluster
        self._events = events
        self.answers = []
        self.deaf = []

    def now(self) -> Now:
        return Now(boot=1000.0, boot_id="cluster", wall=1_800_000_000.0)

    async def observe(self, name: str, _spec: Spec, _ledger: Ledger) -> ObservedProject:
        agent, bridge = (self.cluster.pods.get((name, service), Pod()) for service in (Service.AGENT, Service.BRIDGE))
        there = name in self.cluster.volumes
        return ObservedProject(name=name, sandbox=there, agent=agent, bridge=bridge, details=self)

    def recipe(self, view: View) -> Recipe:
        return Recipe() if view.facts.sandbox else Recipe(before=(Claim(cause="there is no volume yet"),))

    async def perform(self, name: str, _spec: Spec, action: Action) -> Outcome:
        self._events.progressed(name, action.reason, action.text)
        match action:
            case Claim():
                self.cluster.volumes.add(name)
            case StartService(service=service):
                self.cluster.started += 1
                number = self.cluster.started
                ready = Probe(health=Health.READY)
                self.cluster.pods[name, service] = Pod(
                    phase=Phase.RUNNING, instance=f"pod-{number}", cluster_ip=f"10.0.0.{number}", probe=ready
                )
            case StopService(service=service):
                self.cluster.end(name, service, asked=True)
            case MoveToTrash():
                self.cluster.volumes.discard(name)
                self.cluster.secrets.pop(name, None)
                for service in Service:
                    self.cluster.pods.pop((name, service), None)
            case AwaitReady():
                pass
            case _:
                return Blocked(reason=action.failed, message=f"cannot {action.text}: no step of this engine")
        return Done()

    def kill(self, name: str, service: Service) -> None:
        """Evict a pod."""
        self.cluster.end(name, service, asked=False)
        self._events.happened(name)

    def names(self) -> frozenset[str]:
        return frozenset(self.cluster.volumes)

    def connect(self, name: str, service: Service) -> Connection | None:
        address = self.cluster.pods.get((name, service), Pod()).address
        return Connection(url=address, secret=self.cluster.secrets.get(name, {}).get(KEYS[0], "s")) if address else None

    def program(self, _name: str, _names: Collection[str]) -> str:
        return ""

    def logs(self, name: str, service: Service, *, lines: int, follow: bool = False) -> Generator[bytes, None, None]:
        pod = self.cluster.pods.get((name, service))
        if pod is None:
            raise UserError(f"cannot show the log of {name}: it never ran")
        yield f"{pod.instance} runs\n".encode() * min(1, lines)
        while follow:
            yield b""

    def secrets(self, name: str) -> Secrets:
        return Secrets(keys=KEYS, bad=() if name in self.cluster.secrets else KEYS)

    def set_secrets(self, name: str | None, values: Mapping[str, str]) -> str:
        self.cluster.secrets[name or ""] = values
        return "the cluster"

    def given(self, name: str) -> Given:  # noqa: ARG002
        return Given()

    def command(self, name: str, argv: Sequence[str]) -> ProjectCommand:
        return ProjectCommand(argv=tuple(argv), env={}, cwd=Path(f"/{name}"))

    def describe(self, name: str) -> str:
        return f"namespace {name}"

    def disk(self, name: str) -> int | None:  # noqa: ARG002
        return None

    def findings(self) -> tuple[Finding, ...]:
        return ()

    def capabilities(self) -> frozenset[Capability]:
        return frozenset()

    def usage(self, _name: str, _service: Service, *, pss: bool = False) -> Usage | None:  # noqa: ARG002
        return None

    def fingerprint(self, name: str) -> object:
        return self.cluster.secrets.get(name)

    async def watch(self) -> None:
        self._events.publish(FingerprintsMayDiffer())

    def tidy(self) -> None:
        """Nothing is kept that could be pruned."""

    async def close(self) -> None:
        """Nothing is watched."""
