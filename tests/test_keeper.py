"""A keeper holds its service whatever happens, and leaves nothing behind: real processes, killed for real."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from reconciler.facts import Phase
from reconciler.local import holding, processes, proofs, spawn
from reconciler.local.processes import KeeperError
from tests.support.bench import PATIENCE, SECRET, SERVICE, Bench, children, gone, kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOSTILE = ["ignore", "swallow", "hang", "daemon", "hidden", "marked", "storm", "orphans"]
OFFSPRING = {"daemon": "grandchild", "hidden": "grandchild", "marked": "grandchild", "orphans": "orphan"}


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.close()
    assert bench.living() == []


class TestRunning:
    async def test_a_started_service_is_seen(self, bench: Bench) -> None:
        """Pid, port, digest and keeper are what was started, and the pid file has the service's pid."""
        run_id = await bench.start("report", bench.run / "report.json")
        [pid] = bench.hear("leader")
        facts = bench.facts()

        assert (facts.phase, facts.run_id, facts.pid, facts.port) == (Phase.RUNNING, run_id, pid, 4100)
        assert (facts.digest, facts.exit) == ("digest-1", None)
        assert facts.keeper_pid == os.getpgid(facts.keeper_pid or 0) != os.getpgid(pid)
        assert bench.pid_file.read_text() == f"{pid}\n"

    async def test_what_the_service_is_given(self, bench: Bench) -> None:
        """Its environment and marker, its own session, a log, the lock, and nothing else of ours."""
        run_id = await bench.start("report", bench.run / "report.json")
        [pid] = bench.hear("leader")
        given = json.loads((bench.run / "report.json").read_text())
        lock = given["fds"].pop(next(fd for fd, path in given["fds"].items() if path.endswith("agent.lock")))

        assert given["env"]["THE_PASSWORD"] == SECRET
        assert given["env"]["OCM_SANDBOX"] == f"blog:{run_id}"
        assert given["cwd"] == str(bench.run.parent)
        assert (given["session"], given["umask"].strip(), int(given["blocked"], 16)) == (pid, "0077", 0)
        assert lock == f"{bench.run}/agent.lock"
        assert {given["fds"].pop("1"), given["fds"].pop("2")} == {str(bench.log)}
        assert given["fds"].pop("0") == "/dev/null"
        assert all(path.startswith("/proc/") for path in given["fds"].values())
        assert bench.log.stat().st_mode & 0o777 == 0o600

    async def test_no_secret_is_seen(self, bench: Bench) -> None:
        """Neither in an argv nor in the keeper's environment nor in any file."""
        await bench.start("ignore")
        bench.hear("leader")
        facts = bench.facts()
        for pid in (facts.pid, facts.keeper_pid):
            assert SECRET not in proofs.read_bytes(f"/proc/{pid}/cmdline").decode()
        assert SECRET not in proofs.read_bytes(f"/proc/{facts.keeper_pid}/environ").decode()
        await bench.stop()

        for path in bench.run.iterdir():
            assert SECRET not in path.read_text()
            assert path.stat().st_mode & 0o777 == 0o600

    async def test_looking_changes_nothing(self, bench: Bench) -> None:
        """Neither a file nor a lock."""
        await bench.start("ignore")
        bench.hear("leader")
        before = {path: path.stat().st_mtime_ns for path in bench.run.iterdir()}
        seen = {bench.facts() for _ in range(20)}

        assert len(seen) == 1
        assert {path: path.stat().st_mtime_ns for path in bench.run.iterdir()} == before

    async def test_one_of_twenty_starts_wins(self, bench: Bench) -> None:
        """However many try at once, there is one copy."""
        tries = await asyncio.gather(*(bench.start("ignore") for _ in range(20)), return_exceptions=True)
        won = [result for result in tries if isinstance(result, str)]
        lost = [result.errno for result in tries if isinstance(result, KeeperError)]
        bench.hear("leader")

        assert (won, lost) == ([bench.facts().run_id], [errno.EBUSY] * 19)
        assert await bench.stop()
        assert list(bench.told.values()) == ["leader"]
        assert bench.silent()

    async def test_a_program_that_is_not_there(self, bench: Bench) -> None:
        """The error names it, the exit is recorded, and nothing is left."""
        launch = bench.launch("ignore")
        object.__setattr__(launch, "argv", ("/no/such/program",))
        with pytest.raises(KeeperError, match="No such file or directory: /no/such/program"):
            await processes.start(bench.run, SERVICE, launch)
        facts = bench.facts()

        assert facts.phase is Phase.EXITED
        assert facts.exit is not None
        assert (facts.exit.code, facts.exit.asked) == (127, False)
        assert not bench.pid_file.exists()

    async def test_a_keeper_loads_only_its_own_parts(self, bench: Bench) -> None:
        """It is small because it imports little, and survives upgrades because it imports early."""
        code = f"import runpy, sys; runpy.run_path({str(spawn.KEEPER)!r}, run_name='looked at'); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
        loaded = done.stdout.split()
        ours = {name for name in loaded if name.startswith("reconciler")}

        parts = {"reconciler", "reconciler.local"} | {
            f"reconciler.local.{part}" for part in ("holding", "proofs", "tree")
        }
        assert ours == parts
        assert {"subprocess", "typing", "logging", "pathlib", "dataclasses", "asyncio"}.isdisjoint(loaded)


class TestCrashes:
    @pytest.mark.parametrize("point", ["before-fork", "after-fork", "after-record"])
    async def test_a_keeper_killed_before_the_gate_opens(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, point: str
    ) -> None:
        """The service never runs, nothing is left, and the next start works."""
        monkeypatch.setenv(spawn.CRASH_POINT, point)
        with pytest.raises(KeeperError, match="its keeper died before it answered"):
            await bench.start("ignore")
        monkeypatch.delenv(spawn.CRASH_POINT)
        while bench.facts().alive:
            assert await bench.stop()

        assert bench.living() == []
        assert bench.silent()
        await bench.start("ignore")
        assert bench.hear("leader") == [bench.facts().pid]

    @pytest.mark.parametrize("point", ["after-release", "after-answer"])
    async def test_a_keeper_killed_after_the_gate_opened(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, point: str
    ) -> None:
        """The service runs, recorded, and is adopted with its pid."""
        monkeypatch.setenv(spawn.CRASH_POINT, point)
        try:
            await bench.start("ignore")
        except KeeperError:
            assert point == "after-release"
        monkeypatch.delenv(spawn.CRASH_POINT)
        [pid] = bench.hear("leader")
        await gone(bench.record("run")["keeper"]["pid"])

        assert (bench.facts().phase, bench.facts().pid) == (Phase.ORPHANED, pid)
        with pytest.raises(KeeperError, match="runs already"):
            await bench.start("ignore")
        await processes.adopt(bench.run, SERVICE)
        assert (bench.facts().phase, bench.facts().pid) == (Phase.RUNNING, pid)

    async def test_a_controller_that_dies_while_it_hands_over_the_job(self, bench: Bench) -> None:
        """A job that is not whole is no job."""
        spawn.ask_keeper([str(bench.run), SERVICE], b'{"run_id": "1", "argv": ["/bin/sle')

        assert list(bench.run.iterdir()) == []

    async def test_a_record_that_cannot_be_written(self, bench: Bench) -> None:
        """No record, no service."""
        (bench.run / "agent.run.json").mkdir()
        with pytest.raises(KeeperError, match="directory"):
            await bench.start("ignore")

        assert bench.living() == []
        assert bench.silent()

    async def test_an_end_that_cannot_be_recorded(self, bench: Bench) -> None:
        """The keeper ends its service all the same."""
        (bench.run / "agent.exit.json").mkdir()
        await bench.start("daemon")
        bench.hear("grandchild")
        bench.hear("leader")
        keeper = bench.facts().keeper_pid
        assert keeper is not None
        os.kill(keeper, signal.SIGTERM)
        await gone(keeper)

        assert bench.living() == []


class TestEnding:
    @pytest.mark.parametrize("mode", HOSTILE)
    async def test_stopped_means_empty(self, bench: Bench, mode: str) -> None:
        """However a tree resists, nothing of it is left, and that was asked for."""
        await bench.start(mode, 3000 if mode == "storm" else "", grace=0.5)
        bench.hear("leader")
        if mode in OFFSPRING:
            bench.hear(OFFSPRING[mode])

        assert await bench.stop()
        assert bench.living() == []
        facts = bench.facts()
        assert facts.phase is Phase.EXITED
        assert facts.exit is not None
        assert facts.exit.asked
        assert not bench.pid_file.exists()
        assert await bench.stop()

    async def test_term_is_sent_twice(self, bench: Bench) -> None:
        """A program that swallows the first TERM ends by the second, long before KILL."""
        await bench.start("swallow", grace=10.0)
        bench.hear("leader")

        assert await bench.stop()
        facts = bench.facts()
        assert facts.exit is not None
        assert (facts.exit.code, facts.exit.signal) == (5, None)

    async def test_a_leader_that_ends_by_itself(self, bench: Bench) -> None:
        """Its exit code is known, nobody asked for it, and what it left behind is ended."""
        await bench.start("group")
        bench.hear("child")
        facts = await bench.exited()

        assert bench.living() == []
        assert facts.phase is Phase.EXITED
        assert facts.exit is not None
        assert (facts.exit.code, facts.exit.asked, facts.exit.boot_id) == (0, False, processes.boot_id())
        assert facts.exit.at is not None
        assert facts.exit.lived > 0

    async def test_an_early_death(self, bench: Bench) -> None:
        """The exit code survives the keeper."""
        await bench.start("die", 3)
        facts = await bench.exited()

        assert facts.exit is not None
        assert (facts.exit.text, facts.exit.failed) == ("exit code 3", True)

    async def test_a_stop_that_takes_long_goes_on(self, bench: Bench) -> None:
        """It is not said to be done before it is, and asking again waits on."""
        await bench.start("ignore", grace=1.5)
        bench.hear("leader")

        assert not await processes.stop(bench.run, SERVICE, timeout=0.0)
        assert bench.facts().phase is Phase.ENDING
        assert await bench.stop()
        assert bench.living() == []

    async def test_orphans_are_reaped(self, bench: Bench) -> None:
        """No zombie stays, neither of the service nor of the keeper."""
        await bench.start("orphans")
        orphans = bench.hear("orphan", 5)
        bench.hear("leader")
        for orphan in orphans:
            await gone(orphan)
        keeper = bench.facts().keeper_pid
        assert keeper is not None
        await bench.stop()

        assert [child for child in children(os.getpid()) if child == keeper] == []


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

    @pytest.mark.parametrize("mode", HOSTILE)
    async def test_an_adopted_tree_is_emptied(self, bench: Bench, mode: str) -> None:
        """Though its keeper is not its ancestor any more."""
        await bench.start(mode, 300 if mode == "storm" else "", grace=0.5)
        bench.hear("leader")
        if mode == "storm":
            bench.hear("walker", 3)
        if mode == "hidden":
            pytest.skip("proved below: it is known only while its keeper lives")
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

    async def test_a_start_over_leftovers(self, bench: Bench) -> None:
        """What holds no lock but has the marker is ended before the next copy runs."""
        await bench.start("marked")
        bench.hear("grandchild")
        [leader] = bench.hear("leader")
        await kill(bench.facts().keeper_pid)
        await kill(leader)
        bench.told.clear()
        await bench.start("ignore")
        [pid] = bench.hear("leader")

        assert bench.living() == sorted([pid, bench.facts().keeper_pid or 0])


class TestStrangers:
    async def test_a_record_from_another_boot(self, bench: Bench) -> None:
        """Says how the run ended, not who lives; whoever has its pids now is a stranger."""
        with subprocess.Popen(["/bin/sleep", "1000"]) as stranger:
            forge(bench, stranger.pid, boot_id="another-boot")
            facts = bench.facts()

            assert (facts.phase, facts.pid) == (Phase.EXITED, None)
            assert facts.exit is not None
            assert facts.exit.text == "an unknown cause"
            assert await bench.stop()
            assert stranger.poll() is None
            stranger.kill()

    @pytest.mark.parametrize("changed", ["inode", "start"])
    async def test_a_pid_that_was_given_to_somebody_else(self, bench: Bench, changed: str) -> None:
        """Is never signalled, neither as leader nor as keeper."""
        with subprocess.Popen(["/bin/sleep", "1000"]) as stranger:
            forge(bench, stranger.pid, changed=changed)
            await processes.adopt(bench.run, SERVICE)
            assert await bench.stop()

            assert bench.facts().phase is Phase.EXITED
            assert stranger.poll() is None
            await bench.start("ignore")
            assert stranger.poll() is None
            stranger.kill()

    async def test_whoever_asks_for_the_lock_is_no_member(self, bench: Bench) -> None:
        """To have the lock file open is not to hold the lock."""
        await bench.start("ignore")
        bench.hear("leader")
        with (bench.run / "agent.lock").open() as looked_at:
            await kill(bench.facts().keeper_pid)
            assert await bench.stop()

            assert not looked_at.closed
            assert not proofs.holds_lock(os.getpid(), f"{bench.run}/agent.lock")


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
    async def test_a_broken_record_without_a_keeper(self, bench: Bench, text: str) -> None:
        """What holds the lock is seen and ended, though nobody knows any more what it was."""
        await bench.start("daemon")
        bench.hear("grandchild")
        bench.hear("leader")
        await kill(bench.facts().keeper_pid)
        (bench.run / "agent.run.json").write_text(text)
        (bench.run / "agent.exit.json").write_text(text)
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
        assert bench.facts().phase is Phase.NEVER
        with pytest.raises(KeeperError, match="its lock file was deleted"):
            await bench.start("ignore")
        os.kill(pid, signal.SIGUSR1)
        [orphan] = bench.hear("orphan")
        await gone(orphan)
        while bench.facts().phase is not Phase.RUNNING:
            await asyncio.sleep(0)

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
        await bench.start("noisy", holding.LOG_LIMIT + 1)
        [pid] = bench.hear("leader")
        os.kill(pid, signal.SIGUSR1)
        [orphan] = bench.hear("orphan")
        await gone(orphan)
        await bench.stop()

        assert bench.log.stat().st_size <= 100
        assert bench.log.with_name("service.log.1").stat().st_size > holding.LOG_LIMIT
        kept = [bench.log.with_name(f"service.log.{number}").read_text() for number in (2, 3)]
        assert kept == ["old 1", "old 2"]


class TestWatching:
    async def test_an_end_is_noticed_once(self, bench: Bench) -> None:
        """Of the leader and of the keeper, without leaving a descriptor or a zombie."""
        before = len(os.listdir("/proc/self/fd"))
        calls: asyncio.Queue[str] = asyncio.Queue()
        watch = processes.ExitWatch(calls.put_nowait)
        await bench.start("die_later", 4)
        [pid] = bench.hear("leader")
        keeper = bench.facts().keeper_pid
        for _ in range(3):
            watch.watch("blog", bench.run, SERVICE)
        os.kill(pid, signal.SIGUSR1)
        async with asyncio.timeout(PATIENCE):
            seen = [await calls.get(), await calls.get()]
        watch.watch("blog", bench.run, SERVICE)
        watch.close()

        assert (seen, calls.qsize()) == (["blog", "blog"], 0)
        assert keeper not in children(os.getpid())
        assert len(os.listdir("/proc/self/fd")) == before

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


def forge(bench: Bench, pid: int, *, boot_id: str = "", changed: str = "") -> None:
    """A whole run record whose leader and keeper have the pid of a stranger."""
    who = proofs.identify(pid)
    if changed:
        who[changed] += 1
    run = proofs.nobodys_run() | {"run_id": "r1", "marker": "OCM_SANDBOX=blog:r1", "keeper": who, "leader": who}
    proofs.write_record(f"{bench.run}/agent.run.json", run | ({"boot_id": boot_id} if boot_id else {}))
