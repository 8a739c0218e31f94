"""What a service does besides what it says: real processes and connections, seen by one look at this machine."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import ActivitySignals, Health, Probe
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import cpu_activity, listener, processes, signals, sockets
from reconciler.engines.local.processes.signals import Lookout, SeenRun
from tests.support.bench import SERVICE, Bench, a_bench
from tests.support.bubblewrap import bubblewrap_or_skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

AGENT = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for number, program in enumerate((sys.executable, "/bin/sleep")):
    if os.fork() == 0:
        os.set_inheritable(server.fileno(), False)
        if program == "/bin/sleep":  # as what is started for a command, and its shell has ended
            os.setsid()
            if os.fork():
                os._exit(0)
            os.execv(program, ["npm run dev --token=hunter2", "1000"])
        os.execv(program, [program, "-c", "import time; time.sleep(1000)"])  # a helper, in the agent's session
client = socket.create_connection(server.getsockname())  # to itself
open(sys.argv[2], "w").close()
kept = []
while True:
    kept.append(server.accept()[0])
    kept[-1].sendall(b"!")
"""
"""Serves on a port, with a helper, a background process and a connection to itself."""


@pytest.fixture(name="bench", params=[False, pytest.param(True, id="confined")])
async def _bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param:
        bubblewrap_or_skip()
    async with a_bench(tmp_path, confined=request.param) as bench:
        yield bench


async def subject(bench: Bench, port: int) -> SeenRun:
    """An agent that runs."""
    there = bench.run.parent / "there"
    launch = bench.launch("hang")
    walls = launch.argv[: launch.argv.index(sys.executable)]
    argv = (*walls, sys.executable, "-S", "-E", "-c", AGENT, str(port), str(there))
    await processes.start(bench.run, SERVICE, replace(launch, argv=argv))
    await bench.until(there.exists)
    facts, proof = bench.facts(), listener.proved(bench.run, SERVICE, port)
    heads = frozenset(pid for pid in (facts.pid, facts.keeper_pid) if pid)
    return SeenRun(
        heads=heads,
        keeper=facts.keeper_pid,
        listening=frozenset(proof.pids),
        kin=frozenset({facts.pid or 0}),
        port=port,
        started=facts.started or 0.0,
    )


async def look(about: SeenRun, before: Probe, own: set[int] | None = None) -> ActivitySignals:
    """A look that is not shared with others."""
    probe = await Lookout(0.0, lambda: own or set()).see(about, Probe(health=Health.READY), before)
    assert probe.signals is not None
    return probe.signals


async def test_background_and_clients_are_seen_and_its_own_are_not(bench: Bench, unused_tcp_port: int) -> None:
    """Confined too. A helper belongs to the agent, and what it is asked by us is no client."""
    about = await subject(bench, unused_tcp_port)
    found = await look(about, Probe())
    with (
        socket.create_connection(("127.0.0.1", unused_tcp_port)) as client,
        socket.create_connection(("127.0.0.1", unused_tcp_port)) as own,
    ):
        assert client.recv(1) == own.recv(1) == b"!"
        connected = await look(about, Probe(), {own.getsockname()[1]})
    bridge = await look(replace(about, agent=False), Probe())

    assert (found.children, found.connections, found.problem) == (("npm run dev",), 0, "")
    assert connected.connections == 1
    assert (bridge.children, bridge.problem) == ((), "")


async def test_processor_time_counts_from_one_look_to_the_next(bench: Bench, unused_tcp_port: int) -> None:
    """And not while it works at a conversation, nor from one that began before."""
    about = await subject(bench, unused_tcp_port)
    first = await look(about, Probe())
    second = await look(about, Probe(signals=first))
    busy = await look(about, Probe(signals=replace(first, used=(first.used or 0.0) - 10)))
    lookout = Lookout(0.0, set)
    works = await lookout.see(about, Probe(working=("ses_1",)), Probe(signals=second))
    after = await lookout.see(about, Probe(working=()), works)
    wrote = await lookout.see(about, Probe(working=(), written=2), replace(after, written=1))
    missed = replace(wrote, misses=1)

    assert (first.busy, second.busy, busy.busy) == (None, False, True)
    assert first.used == pytest.approx(cpu_activity.processor_time(min(about.heads - {about.keeper}), about.keeper), 1)
    for restarted in (works, wrote):
        assert restarted.signals == ActivitySignals(at=restarted.signals.at if restarted.signals else 0.0)
    assert after.signals
    assert after.signals.busy is None
    assert await lookout.see(about, missed, wrote) is missed


async def test_one_look_serves_all_and_none_is_used_that_is_older_than_the_service(
    bench: Bench, unused_tcp_port: int
) -> None:
    """Until the next one, what was seen before stays."""
    lookout = Lookout(1000.0, set)
    nobody = SeenRun(heads=frozenset(), keeper=None, listening=frozenset({os.getpid()}), kin=frozenset(), port=1)
    assert (await lookout.see(nobody, Probe(), Probe())).signals
    about = await subject(bench, unused_tcp_port)
    before = Probe(signals=ActivitySignals(at=1.0))

    assert (await lookout.see(about, Probe(), before)).signals == before.signals


async def test_what_cannot_be_seen_is_a_problem(
    bench: Bench, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never counts as quiet."""
    about = await subject(bench, unused_tcp_port)
    unseen = await look(replace(about, listening=frozenset()), Probe())
    monkeypatch.setattr(sockets, "_SOCK_DIAG", 31)  # a protocol that nobody speaks: the tables tell
    with socket.create_connection(("127.0.0.1", unused_tcp_port)) as client:
        assert client.recv(1) == b"!"
        listed = await look(about, Probe())
    monkeypatch.setattr(identity, "read_bytes", lambda _path: b"")
    with monkeypatch.context() as blind:
        blind.setattr(signals, "_census", lambda connections: replace(CENSUS, connections=connections))
        unlisted = await look(replace(about, heads=frozenset({1}), listening=frozenset({1})), Probe())

    assert (unseen.problem, unseen.quiet) == ("its processes cannot be seen", False)
    assert (listed.connections, listed.problem) == (1, "")
    assert unlisted.problem == "the connections of this machine cannot be listed"


CENSUS = signals.Census(at=1e12, stats={1: identity.Stat(os.getpid())}, children={}, connections=None)
