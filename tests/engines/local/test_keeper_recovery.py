"""What recovery owes: a killed keeper is replaced, strangers are left alone, damage never makes a second copy."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.core.observed import Phase
from reconciler.engines.local.keeper import identity, log_cap, supervising
from reconciler.engines.local.processes import processes, spawn
from reconciler.engines.local.processes.processes import KeeperError
from reconciler.system import name_lock
from tests.support.bench import (
    HOSTILE,
    OFFSPRING,
    PATIENCE,
    SERVICE,
    Bench,
    a_bench,
    a_stranger,
    children,
    descriptors,
    gone,
    kill,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        yield bench
    assert bench.living() == []


class TestAdopting:
    async def test_a_killed_keeper_is_replaced(self, bench: Bench) -> None:
        """Same run, same pid, a new keeper; and the exit code is known although the leader is nobody's child."""
        run_id = await bench.start("die_later", 7)
        [pid] = bench.hear("leader")
        before = bench.facts()
        await kill(before.keeper_pid)
        assert (bench.facts().phase, bench.facts().keeper_pid) == (Phase.ORPHANED, None)

        await processes.adopt(bench.run, SERVICE)
        await processes.adopt(bench.run, SERVICE)
        facts = bench.facts()
        assert (facts.phase, facts.run_id, facts.pid) == (Phase.RUNNING, run_id, pid)
        assert facts.keeper_pid not in {None, before.keeper_pid}

        os.kill(pid, signal.SIGUSR1)
        facts = await bench.exited()
        assert facts.phase is Phase.EXITED
        assert facts.exit is not None
        assert (facts.exit.code, facts.exit.asked) == (7, False)

    async def test_a_second_killed_keeper(self, bench: Bench) -> None:
        """A signal's number is known too."""
        await bench.start("ignore")
        [pid] = bench.hear("leader")
        for _ in range(2):
            await kill(bench.facts().keeper_pid)
            await processes.adopt(bench.run, SERVICE)
        os.kill(pid, signal.SIGKILL)
        facts = await bench.exited()

        assert facts.exit is not None
        assert facts.exit.text == "signal 9"

    def test_the_status_of_a_reaped_stranger(self) -> None:
        """Newer kernels leave it with the pidfd; of older ones it is unknown, never wrong."""
        child = subprocess.Popen([sys.executable, "-S", "-c", "input(); raise SystemExit(42)"], stdin=subprocess.PIPE)
        who, pidfd = identity.identify(child.pid), os.pidfd_open(child.pid)
        child.communicate(b"go\n")
        release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])

        assert supervising.adopted_status(pidfd, who) == (42 if release >= (6, 15) else None)
        os.close(pidfd)

    @pytest.mark.parametrize("mode", [mode for mode in HOSTILE if mode != "hidden"])
    async def test_an_adopted_tree_is_emptied(self, bench: Bench, mode: str) -> None:
        """Though its keeper is not its ancestor any more."""
        await bench.start(mode, 30000 if mode == "storm" else "", grace=0.5)
        bench.hear("leader")
        if mode in OFFSPRING:
            bench.hear(OFFSPRING[mode])
        await kill(bench.facts().keeper_pid)

        assert await bench.stop()
        assert bench.living() == []
        facts = bench.facts()
        assert facts.exit is not None
        assert (facts.phase, facts.exit.asked) == (Phase.EXITED, True)

    @pytest.mark.parametrize("mode", ["daemon", "marked"])
    async def test_keeper_and_leader_killed(self, bench: Bench, mode: str) -> None:
        """What they leave behind is seen, ended, and only then there is a next run."""
        await bench.start(mode)
        bench.hear("grandchild")
        [leader] = bench.hear("leader")
        await kill(bench.facts().keeper_pid)
        await kill(leader)
        facts = bench.facts()
        assert (facts.phase, facts.pid) == (Phase.ORPHANED, None)

        assert await bench.stop()
        assert bench.living() == []
        facts = bench.facts()
        assert facts.phase is Phase.EXITED
        assert facts.exit is not None
        assert facts.exit.failed

    async def test_a_keeper_killed_while_its_starter_works(self, bench: Bench) -> None:
        """Nothing is started that nobody would hold."""
        await bench.start("marked", grace=3.0)
        bench.hear("grandchild")  # ignores TERM: a next start takes its time
        [leader] = bench.hear("leader")
        await kill(bench.facts().keeper_pid)
        await kill(leader)
        bench.announced.clear()
        start = asyncio.ensure_future(bench.start("ignore"))
        await bench.until(lambda: starters_of(bench) != [])
        await kill(starters_of(bench)[0].ppid())

        with pytest.raises(KeeperError, match="was killed meanwhile"):
            await start
        await bench.until(lambda: bench.living() == [])
        assert bench.silent()
        await bench.start("ignore")
        assert bench.hear("leader") == [bench.facts().pid]

    async def test_a_keeper_killed_while_it_waits(self, bench: Bench) -> None:
        """Its starter notices it, and the next one serves."""
        await bench.start("ignore")
        bench.hear("leader")
        assert await bench.stop()
        bench.announced.clear()
        waiting = [child for child in psutil.Process(spawn.fork_server.pid).children() if child.children()]
        await kill(waiting[0].pid)

        with pytest.raises(KeeperError, match="its keeper died before it answered"):
            await bench.start("ignore")
        await bench.start("ignore")
        assert bench.hear("leader") == [bench.facts().pid]

    async def test_a_start_over_leftovers(self, bench: Bench) -> None:
        """What holds no lock but has the marker is ended before the next copy runs."""
        await bench.start("marked")
        bench.hear("grandchild")
        [leader] = bench.hear("leader")
        await kill(bench.facts().keeper_pid)
        await kill(leader)
        bench.announced.clear()
        await bench.start("ignore")
        [pid] = bench.hear("leader")

        assert bench.living() == sorted([pid, bench.facts().keeper_pid or 0])


class TestStrangers:
    async def test_a_record_from_another_boot(self, bench: Bench) -> None:
        """Says how the run ended, not who lives; whoever has its pids now is a stranger."""
        with a_stranger() as stranger:
            forge(bench, stranger.pid, boot_id="another-boot")
            facts = bench.facts()

            assert (facts.phase, facts.pid) == (Phase.EXITED, None)
            assert facts.exit is not None
            assert facts.exit.text == "an unknown cause"
            assert await bench.stop()

    @pytest.mark.parametrize("changed", ["inode", "start"])
    async def test_a_pid_that_was_given_to_somebody_else(self, bench: Bench, changed: str) -> None:
        """Is never signalled, neither as leader nor as keeper."""
        with a_stranger() as stranger:
            forge(bench, stranger.pid, changed=changed)
            await processes.adopt(bench.run, SERVICE)
            assert await bench.stop()

            assert bench.facts().phase is Phase.EXITED
            await bench.start("ignore")

    async def test_a_process_that_asks_for_the_lock_is_no_member(self, bench: Bench) -> None:
        """To have the lock file open is not to hold the lock."""
        await bench.start("ignore")
        bench.hear("leader")
        with (bench.run / "agent.lock").open() as looked_at:
            await kill(bench.facts().keeper_pid)
            assert await bench.stop()

            assert not looked_at.closed
            assert not identity.holds_lock(os.getpid(), f"{bench.run}/agent.lock")


class TestDamage:
    async def test_a_record_cut_anywhere(self, bench: Bench) -> None:
        """Never looks as if nothing ran, and no second copy is started."""
        await bench.start("ignore")
        bench.hear("leader")
        path = bench.run / "agent.run.json"
        whole = path.read_bytes()
        for length in range(0, len(whole), 5):
            path.write_bytes(whole[:length])
            assert bench.facts().alive
        with pytest.raises(KeeperError):
            await bench.start("ignore")

        assert await bench.stop()
        assert bench.living() == []

    @pytest.mark.parametrize("text", ["", "[]", "null", '{"run_id": 1}', '{"leader": {"pid": "x"}}', "[" * 100000])
    def test_what_is_no_record(self, tmp_path: Path, text: str) -> None:
        """Is no record, and no error."""
        path = tmp_path / "agent.run.json"
        path.write_text(text)

        assert identity.read_record(str(path)) == {}

    async def test_a_broken_record_without_a_keeper(self, bench: Bench) -> None:
        """What holds the lock is seen and ended, though nobody knows any more what it was."""
        await bench.start("daemon")
        bench.hear("grandchild")
        bench.hear("leader")
        await kill(bench.facts().keeper_pid)
        (bench.run / "agent.run.json").write_text("broken")
        assert bench.facts().phase is Phase.ORPHANED

        assert await bench.stop()
        assert bench.living() == []
        assert not bench.facts().alive

    async def test_deleted_locks(self, bench: Bench) -> None:
        """Allow no second copy."""
        await bench.start("ignore")
        [pid] = bench.hear("leader")
        for lock in bench.run.glob("*.lock"):
            lock.unlink()
        facts = bench.facts()
        assert (facts.phase, facts.pid) == (Phase.RUNNING, pid)
        with pytest.raises(KeeperError, match="its lock file was deleted"):
            await bench.start("ignore")

        assert await bench.stop()
        assert bench.living() == []
        assert bench.silent()

    async def test_a_deleted_run_folder(self, bench: Bench) -> None:
        """Allows no second copy either, and the keeper makes its records again at the next event."""
        await bench.start("noisy", 0)
        [pid] = bench.hear("leader")
        for path in bench.run.iterdir():
            path.unlink()
        assert bench.facts().phase is Phase.ORPHANED
        with pytest.raises(KeeperError, match="its lock file was deleted"):
            await bench.start("ignore")
        os.kill(pid, signal.SIGUSR1)
        [orphan] = bench.hear("orphan")
        await gone(orphan)
        await bench.until(lambda: bench.facts().phase is Phase.RUNNING)

        assert bench.facts().pid == pid
        assert await bench.stop()

    async def test_a_deleted_log(self, bench: Bench) -> None:
        """Disturbs nobody."""
        await bench.start("noisy", 100)
        bench.hear("leader")
        bench.log.unlink()

        assert await bench.stop()

    async def test_the_log_is_capped(self, bench: Bench) -> None:
        """The old lines move aside, the service writes on, and only a few old logs are kept."""
        for number in range(1, 4):
            bench.log.with_name(f"service.log.{number}").write_text(f"old {number}")
        await bench.start("noisy", log_cap.LOG_LIMIT + 1)
        bench.hear("leader")
        await bench.until(lambda: bench.log.stat().st_size <= 8192)
        await bench.stop()

        newest = bench.log.with_name("service.log.1").stat().st_size
        assert log_cap.LOG_LIMIT / 2 < newest <= log_cap.LOG_LIMIT
        kept = [bench.log.with_name(f"service.log.{number}").read_text() for number in (2, 3)]
        assert kept == ["old 1", "old 2"]


class TestWatching:
    async def test_an_end_is_reported_once(self, bench: Bench) -> None:
        """Of a leader and the keeper that goes with it, without leaving a descriptor or a zombie."""
        spawn.fork_server.prepare()
        gc.collect()  # what earlier tests left to it
        before = descriptors()
        calls: asyncio.Queue[str] = asyncio.Queue()
        watch = processes.ExitWatch(calls.put_nowait)
        await bench.start("die_later", 4)
        [pid] = bench.hear("leader")
        keeper = bench.facts().keeper_pid
        for _ in range(3):
            watch.watch("blog", bench.run, SERVICE)
        os.kill(pid, signal.SIGUSR1)
        async with asyncio.timeout(PATIENCE):
            seen = await calls.get()
        watch.watch("blog", bench.run, SERVICE)
        watch.close()

        assert (seen, calls.qsize()) == ("blog", 0)
        assert bench.facts().phase is Phase.EXITED
        assert keeper not in children(os.getpid())
        assert descriptors() <= before

    async def test_an_end_is_reported_though_its_keeper_goes_on(self, bench: Bench) -> None:
        """Of a leader that leaves a child which ignores TERM: first of the leader, then of the keeper."""
        calls: asyncio.Queue[str] = asyncio.Queue()
        watch = processes.ExitWatch(calls.put_nowait)
        await bench.start("family", 2)
        [leader] = bench.hear("leader")
        bench.hear("child")  # from now on it ignores TERM
        watch.watch("blog", bench.run, SERVICE)
        os.kill(leader, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            await calls.get()
            phases = [bench.facts().phase]
            await calls.get()
            phases.append(bench.facts().phase)
        watch.close()

        assert phases == [Phase.ENDING, Phase.EXITED]

    @pytest.mark.parametrize("mode", ["serve", "serve_below"])
    async def test_a_listener_is_proved(self, bench: Bench, mode: str, unused_tcp_port: int) -> None:
        """To be of the service's tree; and one that is not is named."""
        assert processes.port_holder(unused_tcp_port) == ""
        await bench.start(mode, f"{unused_tcp_port}:ok")
        [pid] = bench.hear("leader")

        assert processes.listens(bench.run, SERVICE, unused_tcp_port)
        assert not processes.listens(bench.run, SERVICE, unused_tcp_port + 1)
        assert not processes.listens(bench.run, "bridge", unused_tcp_port)
        assert processes.port_holder(unused_tcp_port).startswith(f"pid {pid} (")


def starters_of(bench: Bench) -> list[psutil.Process]:
    """Who looks after this bench's service now and is the child of a keeper that waits."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(bench.run) in process.cmdline() and process.ppid() != spawn.fork_server.pid:
                found.append(process)
    return found


def forge(bench: Bench, pid: int, *, boot_id: str = "", changed: str = "") -> None:
    """A whole run record whose leader and keeper have the pid of a stranger."""
    who = identity.identify(pid)
    if changed:
        who[changed] += 1
    run = identity.nobodys_run() | {"run_id": "r1", "marker": "OCM_SANDBOX=blog:r1", "keeper": who, "leader": who}
    identity.write_record(f"{bench.run}/agent.run.json", run | ({"boot_id": boot_id} if boot_id else {}))


class TestForkServer:
    """The small parent that keepers are forked from."""

    async def test_one_that_was_killed_is_started_again(self, bench: Bench) -> None:
        """And what it has forked goes on."""
        await bench.start("ignore")
        [pid] = bench.hear("leader")

        os.kill(spawn.fork_server.pid, signal.SIGKILL)

        assert bench.facts().pid == pid
        assert await bench.stop()
        await bench.start("ignore")
        assert bench.facts().pid in bench.hear("leader", 2)

    async def test_a_service_is_not_started_twice_when_its_run_folder_is_emptied(self, bench: Bench) -> None:
        """Its guards cannot be deleted."""
        await bench.start("ignore")
        bench.hear("leader")
        for path in bench.run.iterdir():
            path.unlink()

        with pytest.raises(KeeperError, match="its lock file was deleted"):
            await bench.start("ignore")

        assert await bench.stop()
        assert bench.living() == []
        assert name_lock.taken(str(bench.run), SERVICE) is False
