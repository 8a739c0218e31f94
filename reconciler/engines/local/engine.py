"""The local engine as the controller uses it."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.core.observed import Service
from reconciler.engines.base import FingerprintsMayDiffer, ProjectGone
from reconciler.engines.local import facts as local
from reconciler.engines.local import recipe, trash
from reconciler.engines.local.access import LocalAccess
from reconciler.engines.local.act import Actor
from reconciler.engines.local.answering import Answerer
from reconciler.engines.local.health.prober import Prober
from reconciler.engines.local.limits import limiting
from reconciler.engines.local.limits.means import Ceilings
from reconciler.engines.local.limits.watchdog import Watchdog
from reconciler.engines.local.observe import Observer
from reconciler.engines.local.processes import processes, spawn
from reconciler.engines.local.processes.processes import ExitWatch
from reconciler.engines.local.services import Serving
from reconciler.engines.local.toolchain import Toolchains
from reconciler.engines.local.world import git_config
from reconciler.engines.local.world.renewals import Renewals
from reconciler.system import watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.agents.base import Reply
    from reconciler.core.actions import Action, Outcome
    from reconciler.core.observed import Ledger, Now, ObservedProject, Probe
    from reconciler.core.plan import Recipe, View
    from reconciler.core.spec import Spec
    from reconciler.engines.base import Engine, Events
    from reconciler.settings import Settings
    from reconciler.state.ledger import Ledgers


class LocalEngine(LocalAccess):
    """Projects as processes of this machine. Must be made inside a running event loop.

    A dry one only observes; since it has seen no service become ready, it proves each time what it must know.
    """

    def __init__(self, settings: Settings, ledgers: Ledgers, events: Events, *, dry: bool = False) -> None:
        super().__init__(settings)
        self._events = events
        toolchains = Toolchains(settings)
        self._prober = Prober(settings.liveness, self._probed)
        self._observer = Observer(settings, toolchains, None if dry else self._prober)
        self._serving = Serving(settings, events, self._prober, toolchains, self._watch)
        self._actor = Actor(settings, ledgers, events, self._observer, toolchains, self._serving)
        self._answerer = Answerer(self._observer, ledgers, self._prober)
        self._exits = ExitWatch(self._exited)
        self._watchdog = Watchdog()
        self._renewals, self._dry = Renewals(self._exchanged), dry
        self._edited: dict[str, tuple[str, ...]] = {}
        """Paths that a fingerprint is of: to build them took longer than to stat them."""
        events.subscribe(ProjectGone, self._gone)
        if not dry:
            spawn.fork_server.prepare()

    def now(self) -> Now:
        """Read the clock of this machine."""
        return processes.now()

    async def observe(self, name: str, spec: Spec, ledger: Ledger) -> ObservedProject:
        """Observe everything of one project; its processes are watched from then on."""
        facts = await self._observer.observe(name, spec, ledger, self.now())
        agent, bridge = local.process(facts.agent), local.process(facts.bridge)
        pids = (agent.pid, agent.keeper_pid, bridge.pid, bridge.keeper_pid)
        if (facts.agent.alive or facts.bridge.alive) and not self._exits.watches(name, *pids):
            for service in Service:
                self._watch(name, service)
        self._look_after_logins(name, spec, ledger, running=facts.agent.ready and not self._dry)
        return facts if self._dry else self._held_to_limits(name, facts)

    def _held_to_limits(self, name: str, facts: ObservedProject) -> ObservedProject:
        if not facts.limits:
            self._watchdog.forget(name)
            return facts
        live = facts.agent.alive or facts.bridge.alive
        soft = limiting.watched(facts.limits) if live else Ceilings()
        self._watchdog.keep(name, self._settings.home.sandbox(name).run, soft)
        return replace(facts, limits=self._watchdog.with_use(name, facts.limits))

    def _look_after_logins(self, name: str, spec: Spec, ledger: Ledger, *, running: bool) -> None:
        if not running:
            self._renewals.forget(name)
            return
        project = self._observer.project(name, spec, ledger)
        self._renewals.keep(name, project.driver, project.place)
        self._renewals.look(name)

    def recipe(self, view: View) -> Recipe:
        """Return what a machine needs before and after the services of a project."""
        return recipe.recipe(view, development=self._settings.development, ports=self._settings.ports)

    async def perform(self, name: str, spec: Spec, action: Action) -> Outcome:
        """Do one planned action."""
        return await self._actor.perform(name, spec, action)

    async def answer(self, name: str, spec: Spec, request: str, reply: Reply, *, again: bool) -> None:
        """Give the agent an answer, and probe it."""
        await self._answerer.answer(name, spec, request, reply, again=again)

    async def resume(self, name: str, spec: Spec, sessions: Sequence[str]) -> None:
        """Let conversations go on, and probe the agent."""
        await self._answerer.resume(name, spec, sessions)

    def fingerprint(self, name: str) -> object:
        """Return what identifies the state of the files that people edit or delete by hand."""
        if name not in self._edited:
            sandbox, key = self._settings.home.sandbox(name), self._settings.home.deploy_key(name)
            settings = git_config.user_files(self._settings.environment)
            files = (sandbox.env_file, self._settings.home.shared_env, key, sandbox.repo, sandbox.run, *settings)
            self._edited[name] = tuple(map(str, files))
        return (*map(_stamp, self._edited[name]), self._observer.users.stamp())

    async def watch(self) -> None:
        """Watch what people edit in sandboxes, and their keys."""
        home = self._settings.home
        await watcher.watch_below((home.sandboxes, home.keys), self._touched, self._settings.poll)

    def tidy(self) -> None:
        """Delete what has been in the trash long enough, and installations that were killed a day ago. Blocking."""
        home = self._settings.home
        trash.delete_older(home.trash, "*", self._settings.trash_days * trash.DAY)
        trash.delete_older(home.toolchains, ".*", trash.DAY)

    async def close(self) -> None:
        """Let go of what is watched; the services go on."""
        self._prober.close()
        self._exits.close()
        await self._renewals.close()
        await self._watchdog.close()
        spawn.fork_server.close()

    def _watch(self, name: str, service: Service) -> None:
        self._exits.watch(name, self._settings.home.sandbox(name).run, service.value)

    def _touched(self) -> None:
        self._events.publish(FingerprintsMayDiffer())

    def _exchanged(self) -> None:
        """Logins were brought together: where that calls for another start, all agents are observed."""
        if self._observer.users.changed():
            for name in self._renewals.names():
                self._events.happened(name)

    def _exited(self, name: str) -> None:
        self._serving.exited(name)
        self._events.happened(name)

    def _gone(self, event: ProjectGone) -> None:
        """Drop what is kept by the name of a project that is gone."""
        self._edited.pop(event.name, None)
        self._serving.forget(event.name)
        git_config.forget(self._settings.home.sandbox(event.name))
        self._renewals.forget(event.name)
        self._watchdog.forget(event.name)
        for service in Service:
            self._prober.forget(event.name, service)
        self._settings.home.forget(event.name)

    def _probed(self, name: str, service: Service, probe: Probe, *, news: bool) -> None:
        if service is Service.AGENT:
            self._renewals.look(name)
        if news:
            self._events.happened(name)
        else:
            self._events.probed(name, service, probe)


def _stamp(path: str) -> tuple[int, ...] | None:
    """Inode, and for a file its time, size and mode: a folder's time moves with everything in it."""
    try:
        found = os.stat(path)  # noqa: PTH116  for every project every few seconds
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return (found.st_ino,)
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def create(settings: Settings, ledgers: Ledgers, events: Events, *, dry: bool = False) -> Engine:
    """Return a new engine."""
    return LocalEngine(settings, ledgers, events, dry=dry)
