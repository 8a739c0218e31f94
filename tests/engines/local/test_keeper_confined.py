"""What a keeper promises holds for a service within bubblewrap too: real processes, killed for real."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import Phase
from reconciler.engines.local.confinement import walls
from reconciler.engines.local.confinement.walls import PathAccess, Walls
from reconciler.engines.local.keeper import tree
from reconciler.engines.local.processes import cpu_activity, listener, processes
from reconciler.system import name_lock
from tests.engines.local.test_exit_causes import HUNGRY, little_memory, until_observed
from tests.support.bench import SECRET, SERVICE, Bench, a_bench, kill
from tests.support.bubblewrap import bubblewrap_or_skip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from reconciler.core.observed import Exit


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bubblewrap_or_skip()
    async with a_bench(tmp_path, confined=True) as bench:
        yield bench
    assert bench.living() == []


async def ended(bench: Bench) -> Exit:
    found = (await bench.exited()).exit
    assert found is not None
    return found


async def test_it_is_confined(bench: Bench) -> None:
    """The leader is who holds it, in our namespace; it itself is in another, and found by who holds it."""
    await bench.start("ignore")
    [pid] = bench.hear("leader")
    facts = bench.facts()

    assert (facts.phase, facts.confinement) == (Phase.RUNNING, "bubblewrap")
    assert facts.pid != pid
    assert pid in listener.family(facts.pid or 0)
    assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink(f"/proc/{facts.pid}/ns/pid")  # noqa: PTH115


async def test_no_secret_is_in_an_argument(bench: Bench) -> None:
    """It comes with the environment, which the holder has too."""
    await bench.start("ignore")
    [pid] = bench.hear("leader")
    for each in listener.family(bench.facts().keeper_pid or 0):
        with open(f"/proc/{each}/cmdline", "rb") as line:  # noqa: ASYNC230, PTH123
            assert SECRET.encode() not in line.read()

    with open(f"/proc/{pid}/environ", "rb") as environment:  # noqa: ASYNC230, PTH123
        assert SECRET.encode() in environment.read()


@pytest.mark.parametrize("code", [0, 1, 3, 127])
async def test_its_exit_code_is_reported(bench: Bench, code: int) -> None:
    await bench.start("die", code)

    assert ((await ended(bench)).code, (await ended(bench)).asked) == (code, False)


async def test_a_signal_that_ended_it_is_reported(bench: Bench) -> None:
    """Bubblewrap tells it as a shell does, by a code above 128."""
    await bench.start("ignore")
    [pid] = bench.hear("leader")
    os.kill(pid, signal.SIGKILL)

    assert (await ended(bench)).text == "signal 9"


async def test_a_stop_asks_the_service_itself(bench: Bench) -> None:
    """One that swallows the first TERM exits by the second: who holds it was not ended by either."""
    await bench.start("swallow")
    bench.hear("leader")

    assert await bench.stop()
    assert ((await ended(bench)).code, (await ended(bench)).asked) == (5, True)


async def test_a_program_that_is_not_there(bench: Bench) -> None:
    """Within: the keeper has answered by then, so it is told as an end, with its cause."""
    launch = bench.launch("ignore")
    words = launch.argv[: launch.argv.index(sys.executable)]
    await processes.start(bench.run, SERVICE, replace(launch, argv=(*words, "/no/such/program")))

    assert (await ended(bench)).text == "exit code 1 (its program cannot be run within its confinement)"


async def test_a_confinement_that_cannot_be_made(bench: Bench) -> None:
    """It is reported as such."""
    broken = Walls(bubblewrap=bubblewrap_or_skip().program, folder="/", places={"/usr/no/such": PathAccess.WRITE})
    argv = (*walls.command(broken), "/bin/true")
    await processes.start(bench.run, SERVICE, replace(bench.launch("ignore"), argv=argv))

    assert (await ended(bench)).cause == "its confinement could not be made"


async def test_a_killed_keeper_is_replaced(bench: Bench) -> None:
    """Same run, same processes, and the exit code is known in the end."""
    await bench.start("die_later", 7)
    [pid] = bench.hear("leader")
    before = bench.facts()
    await kill(before.keeper_pid)
    assert bench.facts().phase is Phase.ORPHANED

    await processes.adopt(bench.run, SERVICE)
    facts = bench.facts()
    assert (facts.phase, facts.run_id, facts.pid) == (Phase.RUNNING, before.run_id, before.pid)

    os.kill(pid, signal.SIGUSR1)
    assert (await ended(bench)).text == "exit code 7"


async def test_an_adopted_one_is_asked_itself(bench: Bench) -> None:
    await bench.start("swallow")
    bench.hear("leader")
    await kill(bench.facts().keeper_pid)

    assert await bench.stop()
    assert (await ended(bench)).code == 5


async def test_one_whose_holder_is_killed_is_ended(bench: Bench) -> None:
    """By its keeper, at once: it would be nobody's."""
    await bench.start("ignore")
    bench.hear("leader")
    await kill(bench.facts().pid)

    assert (await ended(bench)).text == "signal 9"
    assert bench.living() == []


async def test_all_are_killed_and_nothing_is_left(bench: Bench) -> None:
    """Keeper and holder: what is left knows its marker, or descends from what does."""
    await bench.start("hidden")
    bench.hear("grandchild")
    facts = bench.facts()
    await kill(facts.keeper_pid)
    await kill(facts.pid)

    assert bench.facts().phase is Phase.ORPHANED
    assert await bench.stop()
    assert bench.living() == []


async def test_want_of_memory_is_reported(bench: Bench) -> None:
    """By the count of its cgroup."""
    with little_memory() as group:
        if group is None:
            pytest.skip("no cgroup can be made here")
        leash = bench.run.parent / "leash"
        os.mkfifo(leash)
        launch = bench.launch("ignore")
        argv = (*launch.argv[: launch.argv.index(sys.executable)], sys.executable, "-S", "-E", "-c", HUNGRY, str(leash))
        await processes.start(bench.run, SERVICE, replace(launch, argv=argv))
        await bench.until(lambda: tree.held(bench.facts().pid or 0) is not None)
        for pid in listener.family(bench.facts().pid or 0):
            group.joinpath("cgroup.procs").write_text(str(pid))
        await until_observed(bench)
        await asyncio.to_thread(leash.write_text, "go")

        assert (await ended(bench)).text == "signal 9 (out of memory)"


@pytest.mark.parametrize("mode", ["serve", "serve_below"])
async def test_its_listener_is_proved(bench: Bench, mode: str, unused_tcp_port: int) -> None:
    """And that of a stranger on its port is not."""
    await bench.start(mode, f"{unused_tcp_port}:ok")
    bench.hear("leader")
    found = listener.find(bench.run, SERVICE, unused_tcp_port)

    assert found is not None
    assert found.holds()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        assert listener.find(bench.run, SERVICE, stranger.getsockname()[1]) is None


async def test_its_work_is_counted(bench: Bench) -> None:
    """That of a child of it, too."""
    busy = "import os, time\npid = os.fork()\nwhile time.process_time() < 0.2: pass\nif pid: os.wait()\n"
    launch = bench.launch("ignore")
    program = f"{busy}if pid: open({str(bench.run / 'done')!r}, 'w').close(); time.sleep(1000)\n"
    argv = (*launch.argv[: launch.argv.index(sys.executable)], sys.executable, "-S", "-E", "-c", program)
    await processes.start(bench.run, SERVICE, replace(launch, argv=argv))
    await bench.until((bench.run / "done").exists)
    facts = bench.facts()

    assert cpu_activity.processor_time(facts.pid or 0, facts.keeper_pid) >= 0.3


@pytest.mark.parametrize("part", [SERVICE, f"{SERVICE} keeper"])
async def test_a_stranger_who_takes_its_name_blocks_no_start(bench: Bench, part: str) -> None:
    """Confined agents share the names of sockets with everybody."""
    with contextlib.closing(name_lock.take(str(bench.run), part)):
        assert bench.facts().phase is Phase.NEVER
        await bench.start("ignore")
        bench.hear("leader")

        assert bench.facts().phase is Phase.RUNNING
        assert await bench.stop()
