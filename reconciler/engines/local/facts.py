"""What only this engine observes of a project: its files and processes, as plain values without any secret."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.core.observed import ObservedProject, ObservedService

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.core.observed import ObservedLimit


@dataclass(frozen=True, kw_only=True)
class LocalService(ObservedService):
    """One service as processes of this machine."""

    pid: int | None = None
    """Of its leader."""
    keeper_pid: int | None = None
    port: int | None = None
    """It was started with."""
    kept_port: int | None = None
    """It has at each start, once that was picked."""
    fixed_port: int | None = None
    """Asked for by the spec or the `.env`; None: picked."""
    confinement: str = ""
    """How it was confined when it was started; empty for a run that does not live."""
    groups: tuple[tuple[str, str], ...] = ()
    """Folders of the control groups that its last run was started in, by controller."""
    slice_name: str = ""
    """Of systemd, whose these are; empty where they are our own."""
    port_holder: str = ""
    """Who else listens on the port this service is to have: for people, empty when nobody."""

    @property
    def run_id(self) -> str:
        """Of the run record: here, an instance is a run."""
        return self.instance

    @property
    def address(self) -> str | None:
        """Where it listens, should it be well."""
        return f"http://127.0.0.1:{self.port}" if self.alive and self.port else None

    @property
    def known_address(self) -> str | None:
        """Where it listens, or was and will be when it does not run."""
        return self.address or (f"http://127.0.0.1:{self.kept_port}" if self.kept_port and not self.alive else None)

    @property
    def details(self) -> Mapping[str, int | None]:
        """The leader's pid and the port."""
        return {"pid": self.pid, "port": self.port if self.alive else self.kept_port}


@dataclass(frozen=True, kw_only=True)
class EnvFacts:
    """The sandbox's `.env`, without any value."""

    path: str = ""
    exists: bool = False
    problems: tuple[str, ...] = ()
    """Sentences that begin with "cannot" and name keys, never values."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KeyFacts:
    """The SSH key of the project."""

    needed: bool = False
    path: str = ""
    generated: bool = True
    """Ours to make; else it was named by the user and must be there."""
    exists: bool = False
    public: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class RepoFacts:
    """The git clone."""

    cloned: bool = False
    url: str = ""
    """Of its remote `origin`, as the clone was made from."""
    problem: str = ""
    """Why what lies there is not a clone we made."""
    moved: bool = False
    """Its remote `origin` was set to the url of the spec, so that is the same repository at another place."""
    warnings: tuple[str, ...] = ()
    """About parts of it that are missing, like submodules that could not be fetched, and about git's settings there."""
    work_at_risk: tuple[str, ...] | None = None
    """What destroying would lose, checked only when that is desired; None: not checked."""


@dataclass(frozen=True, kw_only=True)
class ToolchainFacts:
    """The agent's program."""

    path: str = ""
    """Empty when none was found and it must be provided."""
    version: str = ""
    """To provide when path is empty."""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class ConfinementFacts:
    """What the agent can reach of this machine."""

    running: str = ""
    """How the agent that runs is confined; empty when none does."""
    problem: str = ""
    """Why one cannot be started as it must be: a sentence."""
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class LimitFacts:
    """What the project's tree may use."""

    shown: tuple[ObservedLimit, ...] = ()
    outdated: bool = False
    """What runs has other limits than the spec."""
    problem: str = ""
    """Why nothing can be started with them: a sentence."""
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class WorldFacts:
    """What the agent was given of the user's."""

    warnings: tuple[str, ...] = ()
    """About what it did not get, or has changed since."""
    summary: str = ""
    """How much of it, for people."""


@dataclass(frozen=True, kw_only=True)
class LocalFacts:
    """The local part of what was observed of a project: `ObservedProject.details`."""

    prepared: bool = False
    """All folders of the sandbox exist."""
    env: EnvFacts = field(default_factory=EnvFacts)
    key: KeyFacts = field(default_factory=KeyFacts)
    repo: RepoFacts = field(default_factory=RepoFacts)
    toolchain: ToolchainFacts = field(default_factory=ToolchainFacts)
    confinement: ConfinementFacts = field(default_factory=ConfinementFacts)
    limits: LimitFacts = field(default_factory=LimitFacts)
    world: WorldFacts = field(default_factory=WorldFacts)


def with_details(facts: ObservedProject, local: LocalFacts) -> ObservedProject:
    """Add the local part, and what of it every reader of a status may see."""
    return replace(
        facts,
        details=local,
        work=local.repo.cloned or bool(local.repo.problem),
        work_at_risk=local.repo.work_at_risk,
        warnings=local.env.warnings
        + local.repo.warnings
        + local.world.warnings
        + tuple(filter(None, (local.confinement.warning, local.limits.warning))),
        confinement=local.confinement.running,
        limits=local.limits.shown,
        handed_over=local.world.summary,
        public_key=local.key.public,
        public_key_path=f"{local.key.path}.pub" if local.key.path else "",
    )


def details(facts: ObservedProject) -> LocalFacts:
    """Return the local part; of a project that was not observed yet, an empty one."""
    return facts.details if isinstance(facts.details, LocalFacts) else LocalFacts()


def process(facts: ObservedService) -> LocalService:
    """Return the facts of a service as processes; of one that was not observed yet, that there are none."""
    return facts if isinstance(facts, LocalService) else LocalService(phase=facts.phase, instance=facts.instance)
