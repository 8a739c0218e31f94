"""Why a service ended, as it is told: the causes of restarts, each brought about for real where the machine lets us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler import agents
from reconciler.core import kinds
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.processes import processes
from reconciler.system import failpoint
from tests.support.bench import PATIENCE, SERVICE, Bench, a_bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from reconciler.core.observed import Exit
    from tests.support.world import Status, World

LIMIT = 32 << 20
"""Bytes."""
HUNGRY = "import sys; open(sys.argv[1]).read(); hoard = [bytes([n % 7]) * (1 << 20) for n in range(1000)]"


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        yield bench


@contextlib.contextmanager
def little_memory() -> Iterator[Path | None]:
    """A cgroup with little memory, where we may make one; None elsewhere."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"opencode-manager-test-{os.getpid()}"
        try:
            group.mkdir()
            group.joinpath(limit).write_text(str(LIMIT))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None


async def end_of(bench: Bench, code: str) -> Exit:
    """How a service with this Python program ended by itself."""
    argv = (sys.executable, "-S", "-E", "-c", code)
    await processes.start(bench.run, SERVICE, replace(bench.launch("hang"), argv=argv))
    ended = (await bench.exited()).exit
    assert ended is not None
    return ended


@pytest.fixture(name="limited")
def _limited() -> Iterator[Path]:
    """The same, for a test that makes no sense elsewhere."""
    with little_memory() as group:
        if group is None:
            pytest.skip("no cgroup can be made here")
        yield group


async def until_observed(bench: Bench) -> None:
    """Wait until the keeper has looked round, as it does whenever it wakes: a deleted record is made again then."""
    keeper = bench.facts().keeper_pid
    assert keeper is not None
    record = bench.run / f"{SERVICE}.run.json"
    record.unlink()
    os.kill(keeper, signal.SIGCHLD)
    await bench.until(record.exists)


def starve(group: Path) -> None:
    """Let the kernel kill a process of nobody's for want of memory."""
    argv = (sys.executable, "-S", "-E", "-c", HUNGRY, "/dev/stdin")
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as stranger:
        group.joinpath("cgroup.procs").write_text(str(stranger.pid))
        stranger.communicate(b"go")
    assert stranger.returncode == -signal.SIGKILL


async def test_a_kernel_out_of_memory_is_reported(bench: Bench, limited: Path) -> None:
    """By its own count of the service's cgroup."""
    leash = bench.run.parent / "leash"
    os.mkfifo(leash)
    argv = (sys.executable, "-S", "-E", "-c", HUNGRY, str(leash))
    await processes.start(bench.run, SERVICE, replace(bench.launch("hang"), argv=argv))
    limited.joinpath("cgroup.procs").write_text(str(bench.facts().pid))
    await until_observed(bench)
    await asyncio.to_thread(leash.write_text, "go")

    ended = (await bench.exited()).exit

    assert ended is not None
    assert ended.text == "signal 9 (out of memory)"


async def test_want_of_memory_elsewhere_is_no_cause(bench: Bench, limited: Path) -> None:
    """Neither before the service was killed nor while it ran."""
    await bench.start("ignore")
    [pid] = bench.hear("leader")
    await asyncio.to_thread(starve, limited)

    os.kill(pid, signal.SIGKILL)

    ended = (await bench.exited()).exit
    assert ended is not None
    assert ended.text == "signal 9"


@pytest.mark.parametrize(
    ("group", "counter"),
    [
        ("0::/app\n", "/sys/fs/cgroup/app/memory.events.local"),
        ("4:memory:/app\n0::/\n", "/sys/fs/cgroup/memory/app/memory.oom_control"),
    ],
)
@pytest.mark.parametrize(
    ("machine", "own", "happened"),
    [(0, 0, False), (1, 0, False), (1, 1, True), (1, None, True), (0, None, False)],
)
def test_both_the_machine_and_the_cgroup_must_have_counted_a_kill(
    monkeypatch: pytest.MonkeyPatch, group: str, counter: str, machine: int, own: int | None, happened: bool
) -> None:
    """Where the cgroup's count cannot be read, the machine's must do."""
    texts = {f"/proc/{os.getpid()}/cgroup": group}

    def count(in_all: int, in_group: int | None) -> None:
        texts["/proc/vmstat"] = f"nr_free_pages 5\noom_kill {in_all}\nzswpin 0\n"
        texts[counter] = "" if in_group is None else f"oom_kill_disable 0\noom 9\noom_kill {in_group}\n"

    plain = identity.read_bytes
    monkeypatch.setattr(identity, "read_bytes", lambda path: texts[path].encode() if path in texts else plain(path))
    count(7, None if own is None else 3)
    kills = identity.MemoryKills.of(os.getpid())
    count(7 + machine, None if own is None else 3 + own)

    assert kills.happened() is happened
    kills.look()
    assert not kills.happened()


async def test_a_kill_without_want_of_memory_is_a_kill(bench: Bench) -> None:
    """And nothing is guessed."""
    ended = await end_of(bench, "import os; os.kill(os.getpid(), 9)")

    assert ended.text == "signal 9"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("OSError: [Errno 98] Address already in use", "its port was taken"),
        ("Error: Unexpected error\\n\\nServeError", "it could not listen on its port"),
        ("JavaScript heap out of memory", "out of memory"),
    ],
)
async def test_the_last_words_of_a_service_tell_the_cause(bench: Bench, words: str, cause: str) -> None:
    """By name; the words themselves stay in the log."""
    agents.driver(kinds.DEFAULT)  # its words are among them only when it is in use

    ended = await end_of(bench, f"import sys; sys.exit('{words}')")

    assert ended.text == f"exit code 1 ({cause})"


@pytest.mark.parametrize("kept", [True, False], ids=["a run that says nothing", "a run of an older version"])
async def test_what_an_earlier_run_said_is_no_cause(bench: Bench, kept: bool) -> None:
    """Though it is what the log ends with; where it was not recorded what was said before, that cannot be told."""
    await end_of(bench, "import sys; sys.exit('OSError: Address already in use')")

    ended = await end_of(bench, "import sys; sys.exit(3)")

    assert ended.text == "exit code 3"
    if not kept:
        place = identity.RunFiles(str(bench.run), SERVICE)
        identity.write_record(place.run, {key: one for key, one in bench.record("run").items() if key != "log_from"})
        assert (bench.facts().exit or ended).text == "exit code 3 (its port was taken)"


async def test_last_words_are_found_in_a_log_that_was_emptied_meanwhile(bench: Bench) -> None:
    """It is shorter than when the run began."""
    bench.log.write_text("Long ago.\n" * 9)

    ended = await end_of(bench, "import os, sys; os.truncate(2, 0); sys.exit('Address already in use')")

    assert ended.text == "exit code 1 (its port was taken)"


@pytest.mark.long
@pytest.mark.xdist_group("waits")
def test_a_wedged_agent_is_restarted_after_a_while(world: World) -> None:
    """Silent and idle, here because it was stopped by a signal: counted, and the cause is told."""
    world.environment |= {"OPENCODE_MANAGER_LIVENESS": "0.5", "OPENCODE_MANAGER_WEDGED": "2"}
    world.light("app")
    world.start()
    before = world.ready("app")

    os.kill(before["agent"]["pid"], signal.SIGSTOP)

    def replaced(status: Status) -> bool:
        return bool(status["ready"]["status"]) and status["agent"]["pid"] != before["agent"]["pid"]

    after = world.wait("app", replaced)
    assert (after["agent"]["restarts"], after["agent"]["last_exit"]) == (1, "being wedged")


@pytest.mark.long
@pytest.mark.xdist_group("waits")
def test_being_wedged_is_counted_though_the_controller_is_killed_meanwhile(world: World) -> None:
    """By the next one it would be taken for a stop that was asked for."""
    world.environment |= {"OPENCODE_MANAGER_LIVENESS": "0.5", "OPENCODE_MANAGER_WEDGED": "2"}
    world.environment[failpoint.VARIABLE] = "after:StopService"
    world.light("app")
    controller = world.start()
    before = world.ready("app")
    os.kill(before["agent"]["pid"], signal.SIGSTOP)
    assert controller.wait(PATIENCE) == -signal.SIGKILL
    world.kill()
    del world.environment[failpoint.VARIABLE]

    world.start()

    def replaced(status: Status) -> bool:
        return bool(status["ready"]["status"]) and status["agent"]["pid"] != before["agent"]["pid"]

    after = world.wait("app", replaced)
    assert (after["agent"]["restarts"], after["agent"]["last_exit"]) == (1, "being wedged")


@pytest.mark.long
@pytest.mark.xdist_group("waits")
def test_a_silent_agent_is_not_called_running_and_not_killed_at_once(world: World) -> None:
    """It goes on with the same pid when it answers again."""
    world.environment |= {"OPENCODE_MANAGER_LIVENESS": "0.5"}
    world.light("app")
    world.start()
    before = world.ready("app")

    os.kill(before["agent"]["pid"], signal.SIGSTOP)
    world.wait("app", lambda status: status["reason"] == "Unresponsive")
    os.kill(before["agent"]["pid"], signal.SIGCONT)

    assert world.ready("app")["agent"]["pid"] == before["agent"]["pid"]


def test_an_agent_that_answers_wrongly_is_reported_and_never_taken_for_wedged(world: World) -> None:
    """However long it does, and however idle it is."""
    world.environment |= {"OPENCODE_MANAGER_LIVENESS": "0.5", "OPENCODE_MANAGER_WEDGED": "1"}
    sick = world.root / "sick"
    world.light("app", mode=f"sick={sick}")
    world.start()
    before = world.ready("app")

    sick.touch()
    long = world.wait("app", lambda status: "missed 6 health probes: it answers 503" in status["message"])
    sick.unlink()

    assert (long["reason"], long["agent"]["restarts"]) == ("Unresponsive", 0)
    assert world.ready("app")["agent"]["pid"] == before["agent"]["pid"]
