"""Probing services that are ready: on timers of their own, and only news makes anybody look."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.core.observed import Health, Phase, Probe, Service
from reconciler.engines.local.facts import LocalService
from reconciler.engines.local.health import checks
from reconciler.engines.local.health.checks import ProbeTarget
from reconciler.engines.local.health.prober import BEAT, ProbedRun, Prober
from reconciler.engines.local.processes import processes
from tests.support import virtual_time
from tests.support.bench import PATIENCE, Bench, a_bench
from tests.support.opencode import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIVENESS = 0.1


class Probed:
    """A prober, and what it tells."""

    def __init__(self, liveness: float = LIVENESS) -> None:
        self.heard: asyncio.Queue[tuple[str, Probe, bool]] = asyncio.Queue()
        self.prober = Prober(liveness, self._on_probe)

    def _on_probe(self, name: str, service: Service, probe: Probe, *, news: bool) -> None:
        assert service is Service.AGENT
        self.heard.put_nowait((name, probe, news))

    def keep(self, bench: Bench, port: int, name: str = "blog") -> ProbedRun:
        """A service that was proved a moment ago."""
        facts = bench.facts()
        proof = Probe(health=Health.READY, at=processes.now().boot)
        self.prober.remember(name, Service.AGENT, facts.run_id, proof)
        target = ProbeTarget(port=port, secret="a-token", run_dir=bench.run)
        subject = ProbedRun(name=name, service=Service.AGENT, facts=facts, target=target, run_dir=bench.run)
        self.prober.keep(subject)
        return subject

    async def next(self) -> tuple[str, Probe, bool]:
        """What it tells next."""
        async with asyncio.timeout(PATIENCE):
            return await self.heard.get()

    async def news(self) -> Probe:
        """The next that is news."""
        while True:
            _, probe, news = await self.next()
            if news:
                return probe


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        yield bench


@pytest.fixture(name="probed")
async def _probed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Probed]:
    monkeypatch.setattr(checks, "LIVENESS", 0.5)
    made = Probed()
    yield made
    made.prober.close()


async def serving(bench: Bench, port: int, manner: str = "ok") -> int:
    """Start a service; its pid."""
    await bench.start("serve", f"{port}:{manner}")
    [pid] = bench.hear("leader")
    return pid


async def test_one_that_is_as_it_was_is_no_news(bench: Bench, probed: Probed, unused_tcp_port: int) -> None:
    """Each probe is told, with its time."""
    await serving(bench, unused_tcp_port)
    subject = probed.keep(bench, unused_tcp_port)

    first, second = await probed.next(), await probed.next()

    assert [first[2], second[2]] == [False, False]
    assert first[1].health is Health.READY
    assert first[1].at < second[1].at
    assert probed.prober.last("blog", Service.AGENT, subject.facts.run_id) == second[1]


async def test_one_that_falls_silent_is_news_each_time(bench: Bench, probed: Probed, unused_tcp_port: int) -> None:
    """Until it counts as unresponsive, and again when it comes back."""
    pid = await serving(bench, unused_tcp_port)
    probed.keep(bench, unused_tcp_port)
    os.kill(pid, signal.SIGSTOP)

    missed = [await probed.news() for _ in range(checks.MISSES)]
    os.kill(pid, signal.SIGCONT)
    while (back := await probed.news()).misses:
        pass

    assert [probe.misses for probe in missed] == [1, 2, 3]
    assert [probe.health for probe in missed] == [Health.READY, Health.READY, Health.UNRESPONSIVE]
    assert back.health is Health.READY


async def test_one_that_hangs_holds_up_nobody(
    bench: Bench, probed: Probed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another is asked many times while the first is not answered."""
    monkeypatch.setattr(checks, "LIVENESS", PATIENCE)
    tmp_path.joinpath("other").mkdir()
    async with a_bench(tmp_path / "other") as other:
        ports = [free_port(), free_port()]
        await serving(bench, ports[0], "slow")
        await serving(other, ports[1])
        probed.keep(bench, ports[0], "hanging")
        probed.keep(other, ports[1], "other")

        heard = [await probed.next() for _ in range(5)]

        assert {name for name, _, _ in heard} == {"other"}


async def test_a_stranger_on_its_port_is_never_asked(bench: Bench, probed: Probed, unused_tcp_port: int) -> None:
    """Though it was proved who listened there before."""
    pid = await serving(bench, unused_tcp_port)
    probed.keep(bench, unused_tcp_port)
    await probed.next()
    os.kill(pid, signal.SIGKILL)
    await bench.exited()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", unused_tcp_port))
        stranger.listen()
        stranger.setblocking(False)
        while not probed.heard.empty():
            probed.heard.get_nowait()

        probe = await probed.news()
        while probe.detail != "it does not listen":
            probe = await probed.news()
        await probed.next()

        with pytest.raises(BlockingIOError):
            stranger.accept()


async def test_what_is_asked_of_an_old_run_says_nothing_of_the_new(
    bench: Bench, probed: Probed, tmp_path: Path
) -> None:
    """Though no answer came until the new one was proved."""
    tmp_path.joinpath("new").mkdir()
    async with a_bench(tmp_path / "new") as new:
        ports = [free_port(), free_port()]
        pid = await serving(bench, ports[0], "slow")
        await serving(new, ports[1])
        probed.keep(bench, ports[0])
        await bench.until(lambda: is_asked(pid))

        probed.keep(new, ports[1])
        heard = [await probed.next() for _ in range(10)]  # longer than the old one may take to answer

        assert {(probe.health, probe.misses, news) for _, probe, news in heard} == {(Health.READY, 0, False)}


async def test_a_proof_of_the_next_run_stays_when_the_old_is_asked_once_more(
    bench: Bench, probed: Probed, unused_tcp_port: int
) -> None:
    """As between a stop and a start without a look."""
    pid = await serving(bench, unused_tcp_port, "slow")
    probed.keep(bench, unused_tcp_port)
    proof = Probe(health=Health.READY, detail="of the next run")
    probed.prober.remember("blog", Service.AGENT, "the-next-run", proof)

    await bench.until(lambda: is_asked(pid))
    await bench.until(lambda: not is_asked(pid))

    assert probed.prober.last("blog", Service.AGENT, "the-next-run") == proof
    assert probed.heard.empty()


def test_many_are_asked_at_once() -> None:
    """Though each was proved at another time: what is due within a beat is asked at the same moment."""
    assert len(set(virtual_time.run(asked_at((0.3, 0.1, 0.0, -0.2, -0.4))))) == 1
    assert len(set(virtual_time.run(asked_at((0.0, -BEAT))))) == 2


async def asked_at(proved: tuple[float, ...]) -> list[float]:
    """When each of some services was asked that were proved this long before or after a beat."""
    loop, times, done = asyncio.get_running_loop(), dict[str, float](), asyncio.Event()

    def on_probe(name: str, *_: object, **__: object) -> None:
        times.setdefault(name, loop.time())
        if len(times) == len(proved):
            done.set()

    prober, now = Prober(10.0, on_probe), processes.now()
    until_the_beat = -loop.time() % BEAT
    for number, early in enumerate(proved):
        name, at = f"blog-{number}", now.boot + until_the_beat - early
        prober.remember(name, Service.AGENT, "a-run", Probe(health=Health.READY, at=at))
        facts = LocalService(phase=Phase.RUNNING, instance="a-run")
        target = ProbeTarget(port=1, secret="a-token", run_dir=Path("/"))
        prober.keep(ProbedRun(name=name, service=Service.AGENT, facts=facts, target=target, run_dir=Path("/")))

    await done.wait()
    prober.close()
    return list(times.values())


def is_asked(pid: int) -> bool:
    """Whether somebody is connected to it."""
    return any(one.status == psutil.CONN_ESTABLISHED for one in psutil.Process(pid).net_connections("tcp"))
