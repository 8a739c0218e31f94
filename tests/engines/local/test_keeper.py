"""A keeper holds its service whatever happens, and leaves nothing behind: real processes, killed for real."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import Phase
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import processes, spawn
from reconciler.engines.local.processes.processes import KeeperError
from reconciler.system import failpoint
from tests.support.bench import HOSTILE, OFFSPRING, SECRET, SERVICE, Bench, a_bench, children, gone, kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        yield bench
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
        ours = os.open(os.devnull, os.O_RDONLY)
        os.set_inheritable(ours, True)
        spawn.fork_server.close()
        run_id = await bench.start("report", bench.run / "report.json")
        os.close(ours)
        [pid] = bench.hear("leader")
        given = json.loads((bench.run / "report.json").read_text())
        lock = given["fds"].pop(next(fd for fd, path in given["fds"].items() if path.endswith("agent.lock")))
        given["fds"].pop(next(fd for fd, path in given["fds"].items() if path.startswith("socket:")))  # its guard

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
            assert SECRET not in identity.read_bytes(f"/proc/{pid}/cmdline").decode()
        assert SECRET not in identity.read_bytes(f"/proc/{facts.keeper_pid}/environ").decode()
        await bench.stop()

        for path in bench.run.iterdir():
            assert SECRET not in path.read_text()
            assert path.stat().st_mode & 0o777 == 0o600

    async def test_observing_changes_nothing(self, bench: Bench) -> None:
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
        assert list(bench.announced.values()) == ["leader"]
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

    def test_a_keeper_loads_only_its_own_parts(self) -> None:
        """It is small because it imports little."""
        root = spawn.KEEPER.parents[4]
        program = "reconciler.engines.local.keeper"
        code = f"import sys; sys.path.append({str(root)!r}); import {program}.keeper; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
        loaded = set(done.stdout.split())
        own = {path.stem for path in spawn.KEEPER.parent.glob("*.py")} - {"__init__"}
        packages = {"reconciler", "reconciler.engines", "reconciler.engines.local", program, "reconciler.system"}
        helpers = {f"reconciler.system.{name}" for name in ("failpoint", "name_lock", "exchange_file", "ofd_lock")}
        parts = packages | helpers | {f"{program}.{name}" for name in own}

        assert {name for name in loaded if name.startswith("reconciler")} == parts
        assert {"subprocess", "typing", "logging", "pathlib", "dataclasses", "asyncio"} & loaded == set()

    def test_a_warm_up_leaves_nothing(self, tmp_path: Path) -> None:
        """No descriptor, child or signal handler, and nothing is written."""
        root = spawn.KEEPER.parents[4]
        code = f"""
import os, signal, sys
sys.path.append({str(root)!r})
from reconciler.engines.local.keeper import warmup
before = os.listdir("/proc/self/fd")
warmup.warm_up()
assert os.listdir("/proc/self/fd") == before, os.listdir("/proc/self/fd")
assert all(signal.getsignal(number) is signal.SIG_DFL for number in (15, 1, 17)), signal.getsignal(15)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("nothing")
"""
        command = [sys.executable, "-I", "-S", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

        assert (done.stdout, done.stderr, list(tmp_path.iterdir())) == ("nothing\n", "", [])


class TestCrashes:
    @pytest.mark.parametrize("point", ["before-record", "after-record"])
    async def test_a_starter_killed_before_it_hands_over(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, point: str
    ) -> None:
        """The service never runs, nothing is left, its end is no crash, and the next start works."""
        monkeypatch.setenv(failpoint.VARIABLE, point)
        with pytest.raises(KeeperError, match="its keeper died before it answered"):
            await bench.start("ignore")
        monkeypatch.delenv(failpoint.VARIABLE)
        while bench.facts().alive:
            assert await bench.stop()

        await bench.until(lambda: bench.living() == [])
        assert bench.silent()
        ended = bench.facts().exit
        assert ended is None if point != "after-record" else ended and ended.asked
        await bench.start("ignore")
        assert bench.hear("leader") == [bench.facts().pid]

    async def test_a_starter_killed_before_it_is_the_service(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That is an end like any other of a service."""
        monkeypatch.setenv(failpoint.VARIABLE, "after-handover")
        await bench.start("ignore")
        monkeypatch.delenv(failpoint.VARIABLE)
        ended = (await bench.exited()).exit

        assert bench.silent()
        assert ended is not None
        assert (ended.signal, ended.asked) == (signal.SIGKILL, False)
        assert bench.living() == []
        await bench.start("ignore")
        assert bench.hear("leader") == [bench.facts().pid]

    @pytest.mark.parametrize("point", ["before-answer", "after-answer"])
    async def test_a_keeper_killed_after_it_took_over(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, point: str
    ) -> None:
        """The service runs, recorded, and is adopted with its pid."""
        monkeypatch.setenv(failpoint.VARIABLE, point)
        try:
            await bench.start("ignore")
        except KeeperError:
            assert point == "before-answer"
        monkeypatch.delenv(failpoint.VARIABLE)
        [pid] = bench.hear("leader")
        await gone(bench.record("run")["keeper"]["pid"])

        assert (bench.facts().phase, bench.facts().pid) == (Phase.ORPHANED, pid)
        with pytest.raises(KeeperError, match="runs already"):
            await bench.start("ignore")
        await processes.adopt(bench.run, SERVICE)
        assert (bench.facts().phase, bench.facts().pid) == (Phase.RUNNING, pid)
        assert bench.pid_file.read_text() == f"{pid}\n"

        await kill(bench.facts().keeper_pid)
        await kill(pid)
        await processes.adopt(bench.run, SERVICE)
        facts = await bench.exited()
        assert facts.exit is not None
        assert (facts.exit.asked, facts.exit.failed) == (False, True)

    async def test_a_controller_that_dies_while_it_hands_over_the_job(self, bench: Bench) -> None:
        """A job that is not whole is no job."""
        await spawn.ask_keeper([str(bench.run), SERVICE], b'{"run_id": "1", "argv": ["/bin/sle')

        assert list(bench.run.iterdir()) == []

    async def test_a_record_that_cannot_be_written(self, bench: Bench) -> None:
        """No record, no service."""
        (bench.run / "agent.run.json.spare").mkdir()
        with pytest.raises(KeeperError, match="directory"):
            await bench.start("ignore")

        assert bench.living() == []
        assert bench.silent()

    async def test_an_end_that_cannot_be_recorded(self, bench: Bench) -> None:
        """The keeper ends its service all the same."""
        (bench.run / "agent.exit.json.spare").mkdir()
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
        await bench.start(mode, 30000 if mode == "storm" else "", grace=0.5)
        bench.hear("leader")
        if mode in OFFSPRING:
            bench.hear(OFFSPRING[mode])

        begun = time.time()
        assert await bench.stop()
        assert bench.living() == []
        facts = bench.facts()
        assert facts.phase is Phase.EXITED
        assert facts.exit is not None
        assert facts.exit.asked
        assert begun <= (facts.exit.stop_wall or 0.0) <= (facts.exit.at_wall or 0.0)
        assert not bench.pid_file.exists()
        assert await bench.stop()

    async def test_term_is_sent_twice(self, bench: Bench) -> None:
        """A program that swallows the first TERM ends by the second, long before KILL."""
        await bench.start("swallow", grace=5.0)
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
        assert (facts.exit.code, facts.exit.asked, facts.exit.boot_id) == (0, False, identity.boot_id())
        assert (facts.exit.at is None, facts.exit.stop_wall) == (False, None)
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
        await bench.until(lambda: bench.facts().phase is Phase.ENDING)
        assert await bench.stop()
        assert bench.living() == []

    async def test_orphans_are_reaped(self, bench: Bench) -> None:
        """No zombie stays, neither of the service nor of the keeper."""
        await bench.start("orphans")
        bench.hear("orphan", 5)
        [leader] = bench.hear("leader")
        keeper = bench.facts().keeper_pid
        assert keeper is not None
        await bench.until(lambda: children(keeper) == [leader])
        await bench.stop()

        assert keeper not in children(os.getpid())
