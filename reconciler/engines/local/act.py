"""Perform one planned action on this machine and turn what went wrong into an outcome.

Every action may be cancelled at any await, or this process killed at any instruction, and asked for again.
"""

from __future__ import annotations

import asyncio
import errno
import time
from typing import TYPE_CHECKING, Any, Final

from reconciler import agents
from reconciler.core import actions, git_url
from reconciler.core import spec as specs
from reconciler.core.actions import Blocked, Done, Retry
from reconciler.core.observed import Service
from reconciler.core.reasons import Reason
from reconciler.engines.local import actions as local_actions
from reconciler.engines.local import ports
from reconciler.engines.local.confinement import confine
from reconciler.engines.local.git import repo
from reconciler.engines.local.git.remotes import REWRITTEN
from reconciler.engines.local.git.repo import GitProblem, GitProblemKind
from reconciler.engines.local.limits import limiting
from reconciler.engines.local.processes import processes
from reconciler.engines.local.secrets import env_file, ssh_keys
from reconciler.engines.local.world import shell_path
from reconciler.settings import UserError
from reconciler.system import files
from reconciler.system.aio import run_in_thread_shielded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from reconciler.core.actions import Action, Outcome
    from reconciler.core.spec import Spec
    from reconciler.engines.base import Events
    from reconciler.engines.local.launch import LaunchContext
    from reconciler.engines.local.observe import Observer
    from reconciler.engines.local.services import Serving
    from reconciler.engines.local.toolchain import Toolchains
    from reconciler.settings import Settings
    from reconciler.state.ledger import Ledgers

_GIT_OUTCOMES: Final[dict[GitProblemKind, tuple[type[Retry | Blocked], Reason]]] = {
    GitProblemKind.UNREACHABLE: (Retry, Reason.GIT_UNREACHABLE),
    GitProblemKind.DISK_FULL: (Retry, Reason.DISK_FULL),
    GitProblemKind.HOST_KEY_CHANGED: (Blocked, Reason.HOST_KEY_CHANGED),
    GitProblemKind.HOST_KEY_UNKNOWN: (Blocked, Reason.HOST_KEY_UNKNOWN),
    GitProblemKind.CERTIFICATE: (Blocked, Reason.CERTIFICATE_REFUSED),
    GitProblemKind.SETUP: (Blocked, Reason.GIT_MISCONFIGURED),
    GitProblemKind.DAMAGED: (Blocked, Reason.REPOSITORY_DAMAGED),
    GitProblemKind.CHECKOUT: (Blocked, Reason.CHECKOUT_FAILED),
    GitProblemKind.NO_SUCH_REF: (Blocked, Reason.REF_NOT_FOUND),
    GitProblemKind.DIRTY: (Blocked, Reason.REF_CHANGE_BLOCKED),
    GitProblemKind.OTHER: (Retry, Reason.GIT_FAILED),
}
_CURES: Final = {
    GitProblemKind.NO_SUCH_REF: "set git.ref in the spec to one that is there, or to null for the default branch",
    GitProblemKind.CHECKOUT: "let its files be written there",
    GitProblemKind.DAMAGED: "repair that repository (git fsck shows what is wrong), or put a good copy in its place",
    GitProblemKind.DISK_FULL: "make room, then it goes on by itself",
}
"""What to do, where git does not say it."""
_NO_ACCESS: Final = {
    specs.Transport.HTTPS: "correct git.url in the spec; "
    "a private repository needs its ssh url (git@host:owner/name.git)",
    specs.Transport.LOCAL: "correct git.url in the spec, or let this user read that folder: "
    "it must hold a git repository",
}


class Actor:
    """Acts on projects."""

    def __init__(
        self,
        settings: Settings,
        ledgers: Ledgers,
        events: Events,
        observer: Observer,
        toolchains: Toolchains,
        serving: Serving,
    ) -> None:
        self._settings = settings
        self._home = settings.home
        self._ledgers = ledgers
        self._events = events
        self._observer = observer
        self._toolchains = toolchains
        self._serving = serving
        self._cloning = asyncio.Semaphore(settings.clones)
        self._reserving = asyncio.Lock()
        self._files: Final[Mapping[type[Action], Callable[[str, Spec], Outcome]]] = {
            local_actions.PrepareSandbox: self._prepare,
            local_actions.WriteSecrets: self._write_secrets,
            local_actions.ApplyLimits: self._apply_limits,
            actions.MoveToTrash: self._move_to_trash,
        }
        """Blocking: done in a thread."""
        self._steps: Final[Mapping[type[Action], Callable[[str, Spec, Any], Awaitable[Outcome]]]] = {
            local_actions.GenerateKey: self._generate_key,
            local_actions.CloneRepo: self._clone,
            local_actions.CheckoutRef: self._checkout,
            local_actions.ProvideToolchain: self._provide,
            local_actions.ReservePort: self._reserve,
        }
        self._asking: asyncio.Task[object] | None = None

    async def perform(self, name: str, spec: Spec, action: Action) -> Outcome:
        """Do it, whatever it is."""
        kind = type(action)
        try:
            await self._shell_is_asked()
            if kind in self._files:
                return await run_in_thread_shielded(self._files[kind], name, spec)
            if kind in self._steps:
                return await self._steps[kind](name, spec, action)
            return await self._serving.steps[kind](self._project(name, spec), action)
        except GitProblem as problem:
            return self._git_outcome(name, spec, problem)
        except UserError as error:
            return Blocked(reason=action.failed, message=str(error))
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            message = f"cannot {action.text} for {name}: {error.strerror or error}{where}"
            return Retry(reason=action.failed, message=message)

    async def _shell_is_asked(self) -> None:
        """Ask the user's login shell for its PATH, once: git and agents are to find what it finds.

        Nobody waits where an earlier controller has asked it (0.1 to 0.5 s): what it says now counts from then on.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(shell_path.refresh(self._settings), name="login shell")
        if shell_path.known(self._settings) is None:
            await asyncio.shield(self._asking)

    def _project(self, name: str, spec: Spec) -> LaunchContext:
        ledger = self._ledgers.get(name)
        if ledger is None:
            raise AssertionError(f"{name} was planned without a ledger")
        project = self._observer.project(name, spec, ledger)
        project.git.put()
        return project

    def _prepare(self, name: str, _spec: Spec) -> Outcome:
        sandbox = self._home.sandbox(name)
        for folder in (self._home.logs, self._home.keys, sandbox.path, sandbox.run, sandbox.home, sandbox.tmp):
            files.private_folder(folder)
        for part in ("data", "config", "state", "cache"):
            files.private_folder(sandbox.xdg / part)
        ignore = sandbox.path / ".gitignore"
        if not ignore.exists():
            files.replace_file(ignore, b"# Nothing in a sandbox belongs in git: it holds secrets.\n*\n", mode=0o644)
        return Done()

    def _write_secrets(self, name: str, spec: Spec) -> Outcome:
        ssh = self._observer.git(name, spec).needs_key
        key = self._home.deploy_key(name) if ssh and spec.git.ssh_key is None else None
        env_file.write_env(self._home.sandbox(name), git_url=spec.git.url, ssh_key=key)
        return Done()

    def _apply_limits(self, name: str, spec: Spec) -> Outcome:
        try:
            limiting.apply(self._home.sandbox(name).run, spec.limits)
        except OSError as error:
            why = error.strerror
            if error.errno == errno.EBUSY:
                why = "more memory is in use than that and cannot be freed"
            message = (
                f"cannot give {name} its new limits while it runs: {why}; it is tried again, or restart it with: "
                f"opencode-manager restart {name}"
            )
            return Retry(reason=Reason.APPLY_LIMITS_FAILED, message=message)
        return Done()

    async def _generate_key(self, name: str, _spec: Spec, _action: Action) -> Outcome:
        await ssh_keys.generate_key(self._home.deploy_key(name), comment=f"opencode-manager {name}")
        return Done()

    async def _clone(self, name: str, spec: Spec, _action: Action) -> Outcome:
        project = self._project(name, spec)
        url = repo.source_of(spec.git.url, self._settings.specs)
        self._events.progressed(name, Reason.CLONING, f"cloning {url}")
        async with self._cloning:
            await repo.clone(
                url,
                spec.git.ref,
                project.sandbox.repo,
                world=await confine.git_world(project, cloning=True),
                recorded_url=spec.git.url,
                on_progress=lambda line: self._events.progressed(name, Reason.CLONING, line),
            )
        self._ledgers.update(name, ref=spec.git.ref)
        return Done()

    async def _checkout(self, name: str, spec: Spec, action: local_actions.CheckoutRef) -> Outcome:
        project = self._project(name, spec)
        source = repo.source_of(spec.git.url, self._settings.specs)
        world = await confine.git_world(project)
        await repo.checkout(project.sandbox.repo, action.ref, world=world, source=source)
        self._ledgers.update(name, ref=action.ref)
        return Done()

    def _git_outcome(self, name: str, spec: Spec, problem: GitProblem) -> Outcome:
        advice = problem.advice or _CURES.get(problem.kind, "")
        if problem.kind is GitProblemKind.NO_ACCESS:
            url, hint = self._observer.git(name, spec).fetch_url, git_url.did_you_mean(spec.git.url)
            transport = specs.transport(url)
            if transport is specs.Transport.SSH and problem.advice in {"", REWRITTEN}:
                advice = ", or ".join(filter(None, (self._where_to_add(name, spec, url), problem.advice)))
            advice = "; ".join(filter(None, (advice or _NO_ACCESS[transport], hint)))
            reason = Reason.WAITING_FOR_KEY if transport is specs.Transport.SSH else Reason.NO_ACCESS
            return Blocked(reason=reason, message=f"{problem}; {advice}")
        if problem.kind is GitProblemKind.CHECKOUT:
            advice += "; it is tried again by itself, and what is there is not transferred again"
        outcome, why = _GIT_OUTCOMES[problem.kind]
        return outcome(reason=why, message=f"{problem}; {advice}" if advice else str(problem))

    def _where_to_add(self, name: str, spec: Spec, url: str) -> str:
        key = self._observer.key_path(name, spec, env_file.read_env(self._home.sandbox(name).env_file))
        return f"add the public key {key}.pub to the repository, with write access{repo.key_page(url)}"

    async def _provide(self, name: str, spec: Spec, action: local_actions.ProvideToolchain) -> Outcome:
        package, version = agents.driver(spec.agent.kind).program, action.version
        message = f"providing {package.name} {version} with npm ({package.download}, once)"
        self._events.progressed(name, Reason.PROVIDING_AGENT, message)
        await self._toolchains.provide(package, version)
        return Done()

    async def _reserve(self, name: str, _spec: Spec, action: local_actions.ReservePort) -> Outcome:
        service, fixed = action.service, action.fixed
        low, high = self._settings.agent_ports if service is Service.AGENT else self._settings.bridge_ports
        async with self._reserving:
            taken = self._ledgers.taken_ports(but=name, ranges=self._settings.ports)
            if fixed is not None and fixed in taken:
                message = f"cannot give port {fixed} to {name}: another project keeps it; choose another {service}.port"
                return Blocked(reason=Reason.PORT_TAKEN, message=message)
            running = processes.observe(self._home.sandbox(name).run, service.value, processes.now()).port
            port = fixed or running or ports.pick(low, high, taken)
            if port is None:
                message = (
                    f"cannot find a free port from {low} to {high} for the {service} of {name}: end something there"
                )
                return Blocked(reason=Reason.NO_FREE_PORT, message=message)
            ledger = self._ledgers.get(name)
            kept = dict(ledger.ports) if ledger else {}
            self._ledgers.update(name, ports=kept | {service.value: port})
        return Done()

    def _move_to_trash(self, name: str, _spec: Spec) -> Outcome:
        for service in Service:
            limiting.clear(self._home.sandbox(name).run, service)
        ledger = self._ledgers.get(name)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        place = files.private_folder(self._home.trash / f"{name}-{stamp}-{ledger.uid[:8] if ledger else 'unknown'}")
        key = self._home.deploy_key(name)
        logs = [
            path for service in Service for path in self._home.logs.glob(f"{self._home.log_file(name, service).name}*")
        ]
        for path in (key, key.with_name(f"{key.name}.pub"), *logs, self._home.sandbox(name).path):
            if path.is_symlink() or path.exists():
                path.rename(place / path.name)
        self._ledgers.forget(name)
        env_file.forget(self._home.sandbox(name).env_file)
        return Done()
