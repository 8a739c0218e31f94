"""Observe one project on this machine: nothing is changed. What services answered is kept by `prober`."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reconciler.core import spec as specs
from reconciler.core.observed import ObservedProject, Phase, Probe, Service
from reconciler.engines.local import ports
from reconciler.engines.local.confinement import confine
from reconciler.engines.local.ended_runs import EndedRuns
from reconciler.engines.local.facts import EnvFacts, KeyFacts, LocalFacts, LocalService, WorldFacts, with_details
from reconciler.engines.local.git import repo
from reconciler.engines.local.health import checks
from reconciler.engines.local.health.prober import ProbedRun
from reconciler.engines.local.launch import LaunchContext, digest
from reconciler.engines.local.limits import limiting
from reconciler.engines.local.processes import processes
from reconciler.engines.local.secrets import env_file, ssh_keys
from reconciler.engines.local.world import git_config
from reconciler.engines.local.world.started_with import Current, StartedWith, outdated_config
from reconciler.settings import UserError
from reconciler.system import files
from reconciler.system.aio import run_in_thread_shielded

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.core.observed import Ledger, Now
    from reconciler.core.spec import Spec
    from reconciler.engines.local.health.prober import Prober
    from reconciler.engines.local.secrets.env_file import Env
    from reconciler.engines.local.toolchain import Toolchains
    from reconciler.engines.local.world.git_config import GitConfig
    from reconciler.settings import Settings


LOGINS: Final = "your logins have changed"


class Observer:
    """Sees projects.

    Args:
        settings: where they are.
        toolchains: programs of agents.
        prober: knows the last answer of each service; without one, each has to prove itself at each observation.
    """

    def __init__(self, settings: Settings, toolchains: Toolchains, prober: Prober | None) -> None:
        self._settings = settings
        self._toolchains = toolchains
        self._prober = prober
        self._sources: dict[str, str] = {}
        self.users = Current()
        """What the user has for agents now."""

    def project(self, name: str, spec: Spec, ledger: Ledger) -> LaunchContext:
        """Return what a launch of this project would be made from now; reads the secrets."""
        return self._project(name, spec, ledger, self.git(name, spec))

    def _project(self, name: str, spec: Spec, ledger: Ledger, git: GitConfig) -> LaunchContext:
        env = env_file.read_env(self._settings.home.sandbox(name).env_file, self._settings.home.shared_env)
        key = self.key_path(name, spec, env) if git.needs_key else None
        return LaunchContext(
            name=name,
            settings=self._settings,
            spec=spec,
            env=env,
            ports=ledger.ports,
            key=key,
            git=git,
        )

    def git(self, name: str, spec: Spec) -> GitConfig:
        """What the user's git settings are for this project; runs git when they changed since the last observation."""
        return git_config.read(self._request(name, spec))

    def _request(self, name: str, spec: Spec) -> git_config.GitConfigRequest:
        return git_config.GitConfigRequest(
            sandbox=self._settings.home.sandbox(name),
            url=self._source(spec.git.url),
            user=spec.git.credentials == "user",
            environment=self._settings.environment,
            variables=spec.agent.env,
        )

    def _source(self, url: str) -> str:
        """Return what git is given for a URL; known for good, as it is asked for at each observation."""
        if url not in self._sources:
            self._sources[url] = repo.source_of(url, self._settings.specs)
        return self._sources[url]

    def key_path(self, name: str, spec: Spec, env: Env) -> Path:
        """Return the path of the private key: named in the spec, else in `.env`, else the generated one."""
        named = spec.git.ssh_key or env.ssh_key_path
        if not named:
            return self._settings.home.deploy_key(name)
        return (self._settings.specs / files.expanded(named)).absolute()

    async def observe(self, name: str, spec: Spec, ledger: Ledger, now: Now) -> ObservedProject:
        """Everything there is to see of one project."""
        sandbox, request = self._settings.home.sandbox(name), self._request(name, spec)
        if (git := git_config.known(request)) is None:
            git = await run_in_thread_shielded(git_config.read, request)
            if self._prober is not None:  # derived files, which a running agent's git reads at its next run
                with contextlib.suppress(OSError):  # each action writes them too, and says what is wrong
                    await run_in_thread_shielded(git.put)
        project = self._project(name, spec, ledger, git)
        destroying = spec.wanted is specs.State.ABSENT
        clone = repo.repo_facts(sandbox.repo)
        if clone.cloned and clone.url != spec.git.url:
            source = repo.source_of(spec.git.url, self._settings.specs)
            clone = replace(clone, moved=repo.moved_to(sandbox.repo, source))
        if destroying and (clone.cloned or clone.problem):
            clone = replace(clone, work_at_risk=await _work_at_risk(project))
        clone = replace(clone, warnings=(*clone.warnings, *project.git.warnings))
        there = sandbox.path.exists()
        agent, world = self._renewed(project, await self._service(project, Service.AGENT, now))
        bridge = await self._service(project, Service.BRIDGE, now)
        local = LocalFacts(
            prepared=all(path.is_dir() for path in (sandbox.run, sandbox.home, sandbox.xdg, sandbox.tmp)),
            env=_env_facts(project),
            key=await self._key(project),
            repo=clone,
            toolchain=self._toolchains.find(
                project.driver.program, named=project.env.opencode_bin, version=spec.agent.version
            ),
            confinement=await confine.facts(spec, self._settings, agent.confinement),
            limits=limiting.facts(name, spec.limits, (agent, bridge)),
            world=world,
        )
        facts = ObservedProject(
            name=name,
            sandbox=there,
            agent=agent,
            bridge=bridge,
            leftovers=destroying and self._settings.home.deploy_key(name).exists(),
        )
        return with_details(facts, local)

    async def _key(self, project: LaunchContext) -> KeyFacts:
        if not project.git.needs_key:
            return KeyFacts()
        path = self.key_path(project.name, project.spec, project.env)
        generated = path == self._settings.home.deploy_key(project.name)
        return await ssh_keys.key_facts(path, generated=generated)

    async def _service(self, project: LaunchContext, service: Service, now: Now) -> LocalService:
        facts = processes.observe(project.sandbox.run, service.value, now)
        fixed = _fixed_port(project, service)
        kept = project.ports.get(service.value)
        usable = kept is not None and not project.env.problems and project.env.exists
        facts = replace(
            facts, fixed_port=fixed, kept_port=kept, wanted_digest=digest(project, service) if usable else ""
        )
        if facts.phase is Phase.RUNNING:
            ended = EndedRuns(project.sandbox.run).read() if service is Service.AGENT else ()
            before = ended[-1] if ended else None
            return replace(facts, before=before, probe=await self._probe(project, service, facts, now))
        if self._prober is not None:
            self._prober.forget(project.name, service)
        if facts.alive or kept is None or ports.is_free(kept):
            return facts
        # A walk over all processes.
        return replace(facts, port_holder=await asyncio.to_thread(processes.port_holder, kept))

    def _renewed(self, project: LaunchContext, agent: LocalService) -> tuple[LocalService, WorldFacts]:
        """Add what has changed of the user's since the agent was started."""
        note = StartedWith(project.sandbox.run).read(agent.run_id) if agent.phase is Phase.RUNNING else None
        if note is None:
            return agent, WorldFacts()
        users = self.users.of(project.driver, project.place)
        warnings = note.warnings + outdated_config(note, users, project.name)
        given = WorldFacts(warnings=warnings, summary=note.summary)
        return replace(agent, renewal="" if users.logins == note.inputs.logins else LOGINS), given

    async def _probe(self, project: LaunchContext, service: Service, facts: LocalService, now: Now) -> Probe:
        """Return the last probe of this run."""
        if self._prober is None:
            outdated = facts.digest != facts.wanted_digest
            return Probe() if outdated else await checks.prove(project.target(service), now)
        if facts.digest == facts.wanted_digest:
            self._prober.keep(_subject(project, service, facts))
        else:
            self._prober.pause(project.name, service)
        return self._prober.last(project.name, service, facts.run_id)


async def _work_at_risk(project: LaunchContext) -> tuple[str, ...]:
    """What a destroy would lose, as the agent's git sees it."""
    try:
        await run_in_thread_shielded(project.git.put)  # derived files: they may be of an earlier version, or gone
        world = await confine.git_world(project)
        return await repo.work_at_risk(project.sandbox.repo, world, project.spec.agent.kind)
    except (UserError, OSError) as error:
        return (f"cannot tell what would be lost: {error}",)


def _subject(project: LaunchContext, service: Service, facts: LocalService) -> ProbedRun:
    return ProbedRun(
        name=project.name,
        service=service,
        facts=facts,
        target=project.target(service),
        run_dir=project.sandbox.run,
        journal=project.driver.journal(project.place) if service is Service.AGENT else None,
    )


def _fixed_port(project: LaunchContext, service: Service) -> int | None:
    if service is Service.AGENT:
        return project.spec.agent.port or project.env.opencode_port
    return project.spec.bridge.port or project.env.mcp_tool_port


def _env_facts(project: LaunchContext) -> EnvFacts:
    env = project.env
    warnings = env.warnings
    if env.git_url and env.git_url != project.spec.git.url:
        warnings += (f"{project.sandbox.env_file}: GIT_URL differs from git.url of the spec; the spec counts",)
    return EnvFacts(path=str(project.sandbox.env_file), exists=env.exists, problems=env.problems, warnings=warnings)
