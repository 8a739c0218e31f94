"""Start, prove, adopt and end services on this machine: ready is proved, stopped means empty."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.core import actions
from reconciler.core.actions import Done, RequeueAfter, Retry
from reconciler.core.observed import Health, Phase, Probe, Service
from reconciler.core.reasons import Reason
from reconciler.engines.local import actions as local_actions
from reconciler.engines.local import launch, ports, start_notes
from reconciler.engines.local.confinement import confine
from reconciler.engines.local.ended_runs import EndedRuns
from reconciler.engines.local.health import checks
from reconciler.engines.local.health.http1 import CallError
from reconciler.engines.local.limits import limiting
from reconciler.engines.local.processes import processes
from reconciler.engines.local.start_progress import Progress
from reconciler.engines.local.world import git_config, world
from reconciler.engines.local.world.started_with import LaunchNote, StartedWith
from reconciler.settings import UserError
from reconciler.system import files
from reconciler.system.aio import run_in_thread_shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from reconciler.core.actions import Action, Outcome
    from reconciler.core.observed import Now
    from reconciler.engines.base import Events
    from reconciler.engines.local.facts import LocalService
    from reconciler.engines.local.health.prober import Prober
    from reconciler.engines.local.launch import LaunchContext
    from reconciler.engines.local.toolchain import Toolchains
    from reconciler.engines.local.world.world import World
    from reconciler.settings import Settings

PAUSES: Final = (0.002, 0.1)
"""Seconds before the second attempt to prove a starting service ready, and the longest between two: each is longer."""
SLOT_TIME: Final = 20.0
"""Seconds for which a start keeps others waiting: eight at once take 15 on two cores (measured), so what takes longer
is stuck, and must not hold up those that are not."""
ATTEMPTS: Final = (0.1, 1.0)
"""Seconds for a cheap call of the first attempt at a proof, and at most: each attempt gives more time. What an agent is
asked between its listen and its first answer may never be answered (measured), so to wait long would be in vain; so
would be to wait shortly on a busy machine."""
STOP_TIMEOUT: Final = 30.0
"""Seconds after which an unfinished stop is looked at again; the keeper goes on meanwhile."""


class Serving:
    """Acts on services."""

    def __init__(
        self,
        settings: Settings,
        events: Events,
        prober: Prober,
        toolchains: Toolchains,
        watch: Callable[[str, Service], None],
    ) -> None:
        self._settings = settings
        self._events = events
        self._prober = prober
        self._toolchains = toolchains
        self._watch = watch
        self._starting = asyncio.Semaphore(settings.agent_starts)
        self._exits: dict[str, asyncio.Event] = {}
        self.steps: Final[Mapping[type[Action], Callable[[LaunchContext, Any], Awaitable[Outcome]]]] = {
            actions.StartService: self._start,
            actions.AwaitReady: self._look_after,
            local_actions.AdoptService: self._adopt,
            actions.StopService: self._stop,
        }

    def exited(self, name: str) -> None:
        """Wake callers that wait for this project's start: one of its processes ended."""
        if event := self._exits.get(name):
            event.set()

    def forget(self, name: str) -> None:
        """Drop what is kept of a project that is gone."""
        self._exits.pop(name, None)

    async def _start(self, project: LaunchContext, action: actions.StartService) -> Outcome:
        name, service = project.name, action.service
        slots = self._slot() if service is Service.AGENT else contextlib.nullcontext()
        if service is Service.AGENT and self._starting.locked():
            message = f"{self._settings.agent_starts} other agents are starting"
            self._events.progressed(name, Reason.WAITING_TO_START, message)
        async with slots:
            if not ports.is_free(project.ports[service.value]):
                return RequeueAfter(after=0.0, reason=Reason.PORT_TAKEN, message="its port was taken meanwhile")
            self._events.progressed(name, Reason.STARTING, f"starting the {service}")
            if not self._settings.home.logs.is_dir():
                files.private_folder(self._settings.home.logs)
            program, wrapper, note = "", tuple[str, ...](), None
            if service is Service.AGENT:
                program = self._program(project)
                given, note = await run_in_thread_shielded(_prepare_agent, project)
                wrapper = await confine.wrap(project, confine.ConfinedCommand(given=given, program=program))
                before = processes.observe(project.sandbox.run, service.value, processes.now())
                EndedRuns(project.sandbox.run).add(before, time.time())
            job = launch.launch(project, service, program, wrapper)
            job = await run_in_thread_shielded(limiting.limited, project, service, job)
            run_id = await processes.start(project.sandbox.run, service.value, job)
            if note is not None:
                StartedWith(project.sandbox.run).write(replace(note, run_id=run_id))
            self._watch(name, service)
            seen = processes.observe(project.sandbox.run, service.value, processes.now())
            self._events.progressed(name, Reason.STARTING, f"the {service} was started", (service, seen))
            outcome = await self._await_ready(project, service, seen)
            if not isinstance(outcome, Retry):
                return outcome
            # It never got ready since we started it: end it, so that the next try begins from nothing.
            await self._stop_run(project, service, run_id)
            return replace(outcome, run_id=run_id)

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Take one of the few places for agents that start at a time; give it up after `SLOT_TIME`."""
        await self._starting.acquire()
        held = [True]

        def let_go() -> None:
            if held:
                held.clear()
                self._starting.release()

        timer = asyncio.get_running_loop().call_later(SLOT_TIME, let_go)
        try:
            yield
        finally:
            timer.cancel()
            let_go()

    def _program(self, project: LaunchContext) -> str:
        package = project.driver.program
        found = self._toolchains.find(package, named=project.env.opencode_bin, version=project.spec.agent.version)
        if not found.path:
            raise UserError(f"cannot find the program of {package.name} {found.version}; it will be provided again")
        return found.path

    async def _look_after(self, project: LaunchContext, action: actions.AwaitReady) -> Outcome:
        """Wait for one that another controller started: silent all the time, it is judged as one that fell silent."""
        service = action.service
        outcome = await self._await_ready(project, service)
        if not isinstance(outcome, Retry):
            return outcome
        now = processes.now()
        facts = processes.observe(project.sandbox.run, service.value, now)
        probe = Probe(health=Health.UNRESPONSIVE, at=now.boot, misses=checks.MISSES, proved=False)
        probe = replace(probe, detail=outcome.message)
        self._prober.remember(project.name, service, facts.run_id, probe)
        return Done()

    async def _await_ready(self, project: LaunchContext, service: Service, seen: LocalService | None = None) -> Outcome:
        """Try until the service is proved ready, ends, or is silent for too long; `seen`: the facts of a moment ago.

        Slow is no reason to end it (`start_progress`).
        """
        agent, limit = service is Service.AGENT, self._settings.start_timeout
        driver, place = project.driver, project.place
        log = driver.log(place) if agent else None
        progress = Progress(project.sandbox.run, service.value, limit, log, fresh=seen is not None)

        def report_progress() -> None:
            known = driver.doing(place, progress.begin or 0) if agent else ""
            doing = known or f"waiting for the {service} ({progress.detail})"
            progress.reported = True
            self._events.progressed(project.name, Reason.STARTING, f"{doing}, {progress.waited:.0f} s")

        try:
            async with progress.followed(report_progress):
                return await self._attempts(project, service, seen, progress)
        except TimeoutError:
            cause = driver.stuck(place, progress.begin or 0) if agent else ""
        printed = self._settings.home.log_file(project.name, service.value)
        how = f"the {service} was not ready after {progress.waited:.0f} s, and did nothing for {progress.silent:.0f} s"
        message = f"{how} ({progress.detail}); {f'{cause}; ' if cause else ''}see {printed}"
        return Retry(reason=Reason.NOT_READY, message=message, cause=cause)

    async def _attempts(
        self, project: LaunchContext, service: Service, seen: LocalService | None, progress: Progress
    ) -> Outcome:
        ended = self._exits.setdefault(project.name, asyncio.Event())
        pause, quick = PAUSES[0], ATTEMPTS[0]
        while True:
            ended.clear()
            now = processes.now()
            facts, seen = seen or processes.observe(project.sandbox.run, service.value, now), None
            if facts.phase is not Phase.RUNNING:
                return RequeueAfter(after=0.0, reason=Reason.ENDED, message=f"the {service} ended while it started")
            if processes.listens(project.sandbox.run, service.value, project.ports[service.value]):
                if not progress.reported:  # else the message says what it does
                    message = f"the {service} listens; proving that it is ready"
                    self._events.progressed(project.name, Reason.PROVING_READY, message, (service, facts))
                probe = await self._prove(project, service, (now, quick), facts.run_id, progress.begin)
                progress.detail, quick = probe.detail, min(1.5 * quick, ATTEMPTS[1])
                if probe.health is not Health.UNKNOWN:
                    self._prober.remember(project.name, service, facts.run_id, probe)
                    return Done()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await ended.wait()
            pause = min(1.5 * pause, PAUSES[1])

    async def _prove(
        self, project: LaunchContext, service: Service, when: tuple[Now, float], run_id: str, begin: int | None
    ) -> Probe:
        """Try the proof once; of an agent with plugins, also report those that it could not load."""
        target, (now, quick) = project.target(service), when
        if service is Service.BRIDGE or not project.driver.loads_plugins(project.place):
            return await checks.prove(target, now, quick)
        notes = start_notes.StartNotes(project.sandbox.run)
        if begin is None:  # it was started long ago
            return replace(await checks.prove(target, now, quick), plugins=notes.read(run_id))
        try:
            target = target.proved()
            wire = checks.ProbeWire(target, checks.LOADING)
            async with project.driver.failures(project.place, wire, quick, begin) as failed:
                probe = await checks.prove(target, now, quick)
                if probe.health is not Health.READY:
                    return probe
                found = await failed()
                notes.write(run_id, found)
                return replace(probe, plugins=found)
        except CallError as error:
            return Probe(at=now.boot, at_wall=now.wall, detail=str(error))

    async def _adopt(self, project: LaunchContext, action: local_actions.AdoptService) -> Outcome:
        await processes.adopt(project.sandbox.run, action.service.value)
        self._watch(project.name, action.service)
        return Done()

    async def _stop(self, project: LaunchContext, action: actions.StopService) -> Outcome:
        service = action.service
        self._events.progressed(project.name, Reason.STOPPING, f"stopping the {service}")
        self._prober.pause(project.name, service)  # its place may soon be the next run's
        facts = processes.observe(project.sandbox.run, service.value, processes.now())
        if facts.phase is Phase.RUNNING and service is Service.AGENT and facts.port == project.ports.get("agent"):
            EndedRuns(project.sandbox.run).stopping(facts.run_id, time.time())  # the next call breaks off what it does
            await checks.dispose(project.target(service))
        outcome = await self._stop_run(project, service, facts.run_id)
        if service is Service.AGENT and project.sandbox.xdg.is_dir():
            with contextlib.suppress(OSError):  # a token that it renewed at last: the old one is of no use to anybody
                await run_in_thread_shielded(project.driver.exchange, project.place)
        return outcome

    async def _stop_run(self, project: LaunchContext, service: Service, run_id: str) -> Outcome:
        if await processes.stop(project.sandbox.run, service.value, timeout=STOP_TIMEOUT):
            await run_in_thread_shielded(limiting.clear, project.sandbox.run, service)
            return Done()
        message = f"the {service} (run {run_id}) still has processes; its keeper goes on ending them"
        return RequeueAfter(after=1.0, reason=Reason.STOPPING, message=message)


def _opened(root: Path, folder: Path) -> int:
    """Open a folder below one that is ours, without following any link on the way.

    Raises:
        OSError: there is no such folder.
    """
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for part in folder.relative_to(root).parts:
        try:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
        finally:
            os.close(handle)
        handle = below
    return handle


def _empty(root: Path, folder: Path) -> None:
    """Delete what earlier runs left below a sandbox. Best effort.

    By descriptors, never through a link: a person who moved the folder elsewhere, or the agent itself, may have put one
    there, or above it, that leads to what is nobody's to delete.
    """
    try:
        handle = _opened(root, folder)
    except OSError:
        return
    try:
        for name in os.listdir(handle):  # noqa: PTH208  a descriptor
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                    shutil.rmtree(name, ignore_errors=True, dir_fd=handle)  # a Go module cache is read-only
                else:
                    os.unlink(name, dir_fd=handle)
    finally:
        os.close(handle)


def _prepare_agent(project: LaunchContext) -> tuple[World, LaunchNote]:
    """Make what an agent must find: no leftovers, the files of its kind and of the user.

    Some leave libraries of megabytes there for ever: each agent that ran a prompt leaves 5.4 MB (measured).
    """
    sandbox = project.sandbox
    for left in (sandbox.tmp, *project.driver.leftovers(project.place)):
        _empty(sandbox.path, left)
    users = project.driver.user_inputs(project.place)  # first: what changes meanwhile is noticed
    project.driver.prepare(project.place)
    given = world.install(project)
    if git_config.has_old_identity(sandbox.home):
        (sandbox.home / ".gitconfig").unlink()
    return given, LaunchNote(run_id="", inputs=users, warnings=given.warnings(), summary=given.summary(project.name))
