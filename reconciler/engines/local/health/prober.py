"""Ask each service that is ready, again and again, whether it still is.

As in a kubelet, probes have timers of their own, and only news makes anybody look at a project: to look at everything
costs three times as much as to ask, and a service that hangs holds up nobody else. A service is asked only after the
first proof that it is ready, which is waited for where it is started; and at once when its event stream says so.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from reconciler.core.observed import Health, Probe, Service
from reconciler.engines.local.ended_runs import EndedRuns
from reconciler.engines.local.health import checks, http1
from reconciler.engines.local.health.event_streams import EventStreams
from reconciler.engines.local.processes import listener, processes, sockets
from reconciler.engines.local.processes.cpu_activity import Quiet
from reconciler.engines.local.processes.signals import Lookout, SeenRun

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.engines.local.facts import LocalService
    from reconciler.engines.local.health.checks import ProbeTarget
    from reconciler.engines.local.processes.listener import Listener

MISSED: Final = 1.0
"""Seconds until one that missed a probe is asked again, unless all are asked more often."""

BEAT: Final = 1.0
"""Probes are due at whole ones of these seconds, so that many are asked at once: one by itself finds the processor's
caches cold and costs three times as much (measured). At most a tenth of the time between two probes."""

SOONEST: Final = 0.1
"""Seconds between two probes of one service that its events ask for: an agent at work may tell of much."""

FRESH: Final = 0.01
"""Seconds for which the kernel's list of listening sockets serves all that are asked at once."""

SEEN_EVERY: Final = 3
"""Probes of a service between two looks at its processes and connections, which are at all of this machine: 10 ms."""

MOST: Final = 50
"""Asked at once: each is a connection, and a process may have few."""

log = structlog.stdlib.get_logger(__name__)


class OnProbe(Protocol):
    """Called with each probe."""

    def __call__(self, name: str, service: Service, probe: Probe, *, news: bool) -> None:
        """Receive the probe of a service; `news`: it differs from the one before."""


@dataclass(frozen=True, kw_only=True)
class ProbedRun:
    """A run that is probed."""

    name: str
    service: Service
    facts: LocalService
    target: ProbeTarget
    run_dir: Path
    journal: Path | None = None
    """What an agent writes while it works."""


class Prober:
    """Probes services. Must be made inside a running event loop.

    Args:
        liveness: seconds between two probes of a service.
        on_probe: called after each.
    """

    def __init__(self, liveness: float, on_probe: OnProbe) -> None:
        self._liveness = liveness
        self._on_probe = on_probe
        self._beat = min(BEAT, liveness / 10)
        self._loop = asyncio.get_running_loop()
        self._last: dict[tuple[str, Service], tuple[str, Probe]] = {}
        """The last probe of each service, with the run that it is of."""
        self._subjects: dict[tuple[str, Service], ProbedRun] = {}
        self._timers: dict[tuple[str, Service], asyncio.TimerHandle] = {}
        self._asking: dict[tuple[str, Service], asyncio.Task[None]] = {}
        self._listeners: dict[tuple[str, Service], Listener | None] = {}
        self._listening: tuple[float, dict[int, set[int]]] = (0.0, {})
        """The sockets that listen, and until when that is fresh."""
        self._quiet = Quiet()
        self._lookout = Lookout(SEEN_EVERY * liveness, http1.own_ports)
        self._streams = EventStreams(self._hurry)
        self._hurried: set[tuple[str, Service]] = set()
        """Those of which something was heard since they were asked."""
        self._places = asyncio.Semaphore(MOST)

    def last(self, name: str, service: Service, run_id: str) -> Probe:
        """Return the last probe of a run; an empty one when it was never asked."""
        of, probe = self._last.get((name, service), ("", Probe()))
        return probe if of == run_id else Probe()

    def remember(self, name: str, service: Service, run_id: str, probe: Probe) -> None:
        """Keep what somebody else asked."""
        self._last[name, service] = (run_id, probe)

    def keep(self, subject: ProbedRun) -> None:
        """Probe this run from now on, once there is a first proof of it."""
        key = (subject.name, subject.service)
        if (known := self._subjects.get(key)) and known.facts.run_id != subject.facts.run_id:
            self.pause(*key)
        self._subjects[key] = subject
        if key not in self._asking and key not in self._timers:
            self._again(key)

    def forget(self, name: str, service: Service) -> None:
        """Drop the last probe of a service that does not run, or not as it should."""
        key = (name, service)
        self._last.pop(key, None)
        self.pause(name, service)

    def pause(self, name: str, service: Service) -> None:
        """Do not ask it now."""
        key = (name, service)
        self._subjects.pop(key, None)
        self._listeners.pop(key, None)
        self._streams.forget(key)
        self._hurried.discard(key)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if task := self._asking.pop(key, None):
            task.cancel()

    def close(self) -> None:
        """Ask nobody any more."""
        for name, service in list(self._subjects):
            self.pause(name, service)
        self._streams.close()

    def soon(self, name: str, service: Service) -> None:
        """Ask it now, since something is known to have changed."""
        self._hurry((name, service))

    # -- asking --------------------------------------------------------------------------------------------------------

    def _again(self, key: tuple[str, Service]) -> None:
        """Set the timer, if it is known to be ready or not."""
        subject = self._subjects[key]
        probe = self.last(*key, subject.facts.run_id)
        if probe.health is Health.UNKNOWN:
            return
        if probe.health is Health.READY and probe.misses == 0:
            self._listen(key, subject)
        if key in self._hurried:
            self._hurried.discard(key)
            self._timers[key] = self._loop.call_later(SOONEST, self._due, key)
            return
        period = self._liveness if probe.misses == 0 else min(MISSED, self._liveness)
        at = self._loop.time() + max(0.0, probe.at + period - processes.now().boot)
        self._timers[key] = self._loop.call_at(round(at / self._beat) * self._beat, self._due, key)

    def _listen(self, key: tuple[str, Service], subject: ProbedRun) -> None:
        """Listen to its events, if it has any and is not listened to."""
        feed = subject.target.driver.events if subject.target.driver else None
        if feed is not None and self._streams.wants(key, subject.facts.run_id) and (proof := self._proof(subject)):
            call = replace(subject.target, proof=proof).call(feed.request)
            self._streams.listen(key, subject.facts.run_id, call, feed)

    def _hurry(self, key: tuple[str, Service]) -> None:
        """Ask it now, or again as soon as it has answered; many hints are one."""
        if key in self._asking:
            self._hurried.add(key)
        elif timer := self._timers.pop(key, None):
            timer.cancel()
            probe = self.last(*key, self._subjects[key].facts.run_id)
            left = probe.at + SOONEST - processes.now().boot
            self._timers[key] = self._loop.call_later(max(0.0, left), self._due, key)

    def _due(self, key: tuple[str, Service]) -> None:
        del self._timers[key]
        task = self._asking[key] = self._loop.create_task(self._ask(self._subjects[key]), name=f"probe {key[0]}")
        task.add_done_callback(lambda done: self._asked(key, done))

    def _asked(self, key: tuple[str, Service], task: asyncio.Task[None]) -> None:
        if self._asking.get(key) is not task:
            return  # it was paused
        del self._asking[key]
        if error := task.exception():
            log.error("probe failed", project=key[0], service=key[1].value, exc_info=error)
            self._timers[key] = self._loop.call_later(self._liveness, self._due, key)
        else:
            self._again(key)

    async def _ask(self, subject: ProbedRun) -> None:
        key, run_id = (subject.name, subject.service), subject.facts.run_id
        before = self.last(*key, run_id)
        async with self._places:
            probe = await self._quiet.judge(subject.facts, await self._probe(subject, before))
            probe = await self._lookout.see(self._seen(subject), probe, before)
        if self._last.get(key, ("",))[0] != run_id:
            return  # meanwhile another run was proved
        self.remember(*key, run_id, probe)
        self._on_probe(*key, probe, news=_timeless(probe) != _timeless(before))

    def _seen(self, subject: ProbedRun) -> SeenRun:
        proof = self._listeners.get((subject.name, subject.service))
        agent = self._subjects.get((subject.name, Service.AGENT))
        bridge = self._subjects.get((subject.name, Service.BRIDGE))
        return SeenRun(
            heads=frozenset(filter(None, (subject.facts.pid, subject.facts.keeper_pid))),
            listening=frozenset(proof.pids) if proof else frozenset(),
            kin=frozenset(one.facts.pid for one in (agent, bridge) if one and one.facts.pid),
            port=subject.target.port,
            started=subject.facts.started or 0.0,
            agent=subject.service is Service.AGENT,
            keeper=subject.facts.keeper_pid,
        )

    async def _probe(self, subject: ProbedRun, before: Probe) -> Probe:
        """Probe once a run that was proved before, counted on top of the last probe."""
        now, proof = processes.now(), self._proof(subject)
        if proof is None:
            return checks.missed(before, now, "it does not listen")  # and a listener without proof is never asked
        target = replace(subject.target, proof=proof)
        if before.health is Health.READY or (before.health is Health.UNRESPONSIVE and before.proved):
            started = subject.facts.started_wall or 0.0
            written = _written(subject.journal)
            ended = EndedRuns(subject.run_dir).read() if before.interrupted != () else ()
            return await checks.live(target, before, now, written=written, started=started, ended=ended)
        found = await checks.prove(target, now)
        silent = found.health is Health.UNKNOWN and before.health is Health.UNRESPONSIVE
        return checks.missed(before, now, found.detail) if silent else found

    def _proof(self, subject: ProbedRun) -> Listener | None:
        """Return proof that the listener on the port is a process of this run; None without it."""
        key, port = (subject.name, subject.service), subject.target.port
        known = self._listeners.get(key)
        if known is None or known.port != port or not known.still(self._sockets()):
            known = self._listeners[key] = listener.find(subject.run_dir, subject.service.value, port)
        return known if known is not None and known.run_id == subject.facts.run_id else None

    def _sockets(self) -> dict[int, set[int]]:
        until, found = self._listening
        if (now := self._loop.time()) >= until:
            found = sockets.listening()
            self._listening = (now + FRESH, found)
        return found


def _timeless(probe: Probe) -> Probe:
    """Drop what is no news when it changes: times, that nothing was interrupted, and what it does."""
    bare = replace(probe, at=0.0, at_wall=0.0, written=0, working=None, signals=None)
    return replace(bare, interrupted=probe.interrupted or ())


def _written(journal: Path | None) -> int:
    """Return when it was written last; 0 where there is none."""
    try:
        return os.stat(journal).st_mtime_ns if journal else 0  # noqa: PTH116  at each probe
    except OSError:
        return 0
