"""Looking at one project on this machine: facts, and nothing but facts.

Belongs here: asking the modules that each know one outside thing, and putting their answers together.
Does not belong here: changing anything, or deciding. The only memory is what the last health probes said.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler import files
from reconciler import spec as specs
from reconciler.agents import KINDS
from reconciler.facts import EnvFacts, Health, KeyFacts, Phase, Probe, ProjectFacts, Service, ServiceFacts
from reconciler.local import credentials, health, keys, processes, repo
from reconciler.local.activity import Quiet
from reconciler.local.launch import Project, digest

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.facts import Ledger, Now
    from reconciler.local.credentials import Env
    from reconciler.local.toolchain import Toolchains
    from reconciler.settings import Settings
    from reconciler.spec import Spec


class Observer:
    """Sees projects."""

    def __init__(self, settings: Settings, toolchains: Toolchains, *, dry: bool = False) -> None:
        self._settings = settings
        self._toolchains = toolchains
        self._dry = dry
        self._quiet = Quiet()
        self._probes: dict[tuple[str, Service], tuple[str, Probe]] = {}

    def project(self, name: str, spec: Spec, ledger: Ledger) -> Project:
        """What a launch of this project would be made from now; reads the secrets."""
        env = credentials.read_env(self._settings.home.sandbox(name).env_file)
        key = self.key_path(name, spec, env) if specs.transport(spec.git.url) is specs.Transport.SSH else None
        return Project(
            name=name,
            settings=self._settings,
            spec=spec,
            env=env,
            ports=ledger.ports,
            key=key,
        )

    def key_path(self, name: str, spec: Spec, env: Env) -> Path:
        """The private key: named in the spec, else in `.env`, else the generated one."""
        named = spec.git.ssh_key or env.ssh_key_path
        if not named:
            return self._settings.home.deploy_key(name)
        return (self._settings.specs / files.expanded(named)).absolute()

    async def observe(self, name: str, spec: Spec, ledger: Ledger, now: Now) -> ProjectFacts:
        """Everything there is to see of one project."""
        sandbox = self._settings.home.sandbox(name)
        project = self.project(name, spec, ledger)
        destroying = spec.wanted is specs.State.ABSENT
        clone = repo.repo_facts(sandbox.repo)
        if destroying and (clone.cloned or clone.problem):
            clone = replace(clone, losses=await repo.losses(sandbox.repo))
        kind = KINDS[spec.agent.kind]
        return ProjectFacts(
            name=name,
            sandbox=sandbox.path.exists(),
            prepared=all(path.is_dir() for path in (sandbox.run, sandbox.home, sandbox.xdg, sandbox.tmp)),
            env=_env_facts(project),
            key=await self._key(project),
            repo=clone,
            toolchain=self._toolchains.find(kind, named=project.env.opencode_bin, version=spec.agent.version),
            agent=await self._service(project, Service.AGENT, now),
            bridge=await self._service(project, Service.BRIDGE, now),
            leftover_keys=destroying and self._settings.home.deploy_key(name).exists(),
        )

    def remember(self, name: str, service: Service, run_id: str, probe: Probe) -> None:
        """Keep what a probe of this run said."""
        self._probes[name, service] = (run_id, probe)

    async def _key(self, project: Project) -> KeyFacts:
        if specs.transport(project.spec.git.url) is not specs.Transport.SSH:
            return KeyFacts()
        path = self.key_path(project.name, project.spec, project.env)
        generated = path == self._settings.home.deploy_key(project.name)
        return await keys.key_facts(path, generated=generated)

    async def _service(self, project: Project, service: Service, now: Now) -> ServiceFacts:
        facts = processes.observe(project.sandbox.run, service.value, now)
        fixed = _fixed_port(project, service)
        kept = project.ports.get(service.value)
        usable = kept is not None and not project.env.problems and project.env.exists
        facts = replace(facts, fixed_port=fixed, wanted_digest=digest(project, service) if usable else "")
        if facts.phase is Phase.RUNNING:
            return replace(facts, probe=await self._probe(project, service, facts, now))
        self._probes.pop((project.name, service), None)
        if facts.alive or kept is None:
            return facts
        return replace(facts, port_holder=processes.port_holder(kept))

    async def _probe(self, project: Project, service: Service, facts: ServiceFacts, now: Now) -> Probe:
        """The last probe of this run, or a new one when it is due."""
        run_id, probe = self._probes.get((project.name, service), ("", Probe()))
        if facts.digest != facts.wanted_digest or run_id != facts.run_id or probe.health is Health.UNKNOWN:
            probe = probe if run_id == facts.run_id else Probe()
            outdated = facts.digest != facts.wanted_digest
            return probe if outdated or not self._dry else await health.prove(project.target(service), now)
        due = self._settings.liveness if probe.misses == 0 else 1.0
        if now.boot - probe.at < due:
            return probe
        if not processes.listens(project.sandbox.run, service.value, project.ports[service.value]):
            probe = health.missed(probe, now, "it does not listen")  # and whoever does is never sent the password
        elif probe.health is Health.READY or (probe.health is Health.UNRESPONSIVE and probe.proved):
            written, started = _written(project, service), facts.started_wall or 0.0
            probe = await health.live(project.target(service), probe, now, written=written, started=started)
        else:
            found = await health.prove(project.target(service), now)
            silent = found.health is Health.UNKNOWN and probe.health is Health.UNRESPONSIVE
            probe = health.missed(probe, now, found.detail) if silent else found
        probe = self._quiet.judge(facts, probe)
        self.remember(project.name, service, facts.run_id, probe)
        return probe


def _fixed_port(project: Project, service: Service) -> int | None:
    if service is Service.AGENT:
        return project.spec.agent.port or project.env.opencode_port
    return project.spec.bridge.port or project.env.mcp_tool_port


def _written(project: Project, service: Service) -> int:
    """When an agent wrote its journal last; 0 where there is none."""
    if service is not Service.AGENT:
        return 0
    try:
        return os.stat(project.sandbox.xdg / KINDS[project.spec.agent.kind].journal).st_mtime_ns  # noqa: PTH116  at each probe
    except OSError:
        return 0


def _env_facts(project: Project) -> EnvFacts:
    env = project.env
    warnings = env.warnings
    if env.git_url and env.git_url != project.spec.git.url:
        warnings += (f"{project.sandbox.env_file}: GIT_URL differs from git.url of the spec; the spec counts",)
    return EnvFacts(path=str(project.sandbox.env_file), exists=env.exists, problems=env.problems, warnings=warnings)
