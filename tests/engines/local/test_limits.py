"""Limits that the kernel enforces: real services under real keepers in real control groups, while others live."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import Phase, Service
from reconciler.core.spec import Limits
from reconciler.engines.local.limits import groups, limiting, means, probe
from reconciler.engines.local.limits.means import Available, Ceilings, Limit, Means
from reconciler.engines.local.processes import processes
from tests.support.bench import Bench, a_bench, a_stranger, confined, kill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MIB = 2**20
LIMIT = 64 * MIB
TASKS = 20
MEMORY = Ceilings(memory=LIMIT)
CALM = "import time; open({ready!r}, 'w').close(); time.sleep(1000)"
LEAK = "hoard = [bytes([n % 7]) * (1 << 20) for n in range(100_000)]"
CHILD_LEAKS = """
import os, subprocess, sys, time
code = subprocess.run([sys.executable, "-S", "-E", "-c", {leak!r}]).returncode
open({ready!r}, "w").write(str(code))
time.sleep(1000)
"""
BOMB = """
import os, time
while True:
    try:
        os.fork()
    except OSError as error:
        open({ready!r}, "w").write(str(error.errno))
        time.sleep(1000)
"""
BUSY = """
import time
begin, used = time.monotonic(), time.process_time()
while time.process_time() - used < 0.5: pass
open({ready!r}, "w").write(str(time.monotonic() - begin))
time.sleep(1000)
"""


@pytest.fixture(name="available")
def _available() -> Available:
    found = probe.find()
    missing = set(means.CONTROLLERS.values()) - set(found.groups)
    if missing:
        pytest.skip(f"no control groups of our own can be made here for: {', '.join(sorted(missing))}")
    return found


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path) as bench:
        yield bench


class Limited:
    """A project whose services run in groups of their own."""

    def __init__(self, bench: Bench, available: Available) -> None:
        self.bench = bench
        self._available = available
        self._name = f"ocm-test-{os.getpid()}"
        self.ready = bench.run / "ready"

    async def start(self, service: Service, code: str, limits: Ceilings, *, within: tuple[str, ...] = ()) -> None:
        """Start a Python program as a service under a keeper, limited."""
        folders = groups.make(self._available, self._name, service.value)
        groups.limit(folders, limits)
        text = code.format(ready=str(self.ready), leak=LEAK)
        launch = replace(
            self.bench.launch("hang"),
            argv=(*within, sys.executable, "-S", "-E", "-c", text),
            groups=folders,
            victim=service is Service.AGENT,
            pid_file=self.bench.run / f"{service}.pid",
            confinement="bubblewrap" if within else "none",
        )
        await processes.start(self.bench.run, service.value, launch)

    async def calm_bridge(self, limits: Ceilings) -> int:
        """Start a bridge that does nothing; its pid."""
        await self.start(Service.BRIDGE, CALM, limits)
        await self.bench.until(self.ready.exists)
        self.ready.unlink()
        return self.pid(Service.BRIDGE)

    async def written(self) -> str:
        """What a program wrote when it was ready."""
        await self.bench.until(lambda: self.ready.exists() and bool(self.ready.read_text()))
        return self.ready.read_text()

    def pid(self, service: Service) -> int:
        """The leader's, of one that lives."""
        facts = processes.observe(self.bench.run, service.value, processes.now())
        assert facts.phase is Phase.RUNNING
        return facts.pid or 0

    def folders(self, service: Service = Service.AGENT) -> dict[str, str]:
        """Of the groups, as the run record has them."""
        return dict(processes.observe(self.bench.run, service.value, processes.now()).groups)

    async def end(self) -> None:
        """Stop both, and remove the groups."""
        for service in Service:
            await processes.stop(self.bench.run, service.value, timeout=60.0)
            limiting.clear(self.bench.run, service)


@pytest.fixture(name="limited")
async def _limited(bench: Bench, available: Available) -> AsyncIterator[Limited]:
    limited = Limited(bench, available)
    try:
        yield limited
    finally:
        await limited.end()
    left = [
        place.folder for place in available.groups.values() if Path(place.folder, f"ocm-test-{os.getpid()}").exists()
    ]
    assert left == []


@pytest.fixture(name="stranger", autouse=True)
def _stranger() -> Iterator[None]:
    with a_stranger():
        yield


async def test_a_leak_ends_the_agent_alone_and_is_reported_with_the_limit(limited: Limited) -> None:
    """The bridge of the same project lives, though both are held by the same limit."""
    bridge = await limited.calm_bridge(MEMORY)
    await limited.start(Service.AGENT, LEAK, MEMORY)

    ended = (await limited.bench.exited()).exit

    assert ended is not None
    assert ended.text == "signal 9 (out of memory at its limit of 64MiB)"
    assert (ended.out_of_memory, ended.asked) == (True, False)
    assert limited.pid(Service.BRIDGE) == bridge


async def test_a_confined_leak_is_said_to_be_the_same(limited: Limited) -> None:
    """Within bubblewrap, whose outer process says how the inner one ended."""
    within = confined(str(limited.bench.run.parent.resolve()))
    await limited.start(Service.AGENT, LEAK, MEMORY, within=within)

    ended = (await limited.bench.exited()).exit

    assert ended is not None
    assert (ended.signal, ended.cause) == (9, "out of memory at its limit of 64MiB")


async def test_a_command_of_the_agent_that_leaks_ends_and_the_agent_lives(limited: Limited) -> None:
    """The kernel takes the largest."""
    await limited.start(Service.AGENT, CHILD_LEAKS, MEMORY)

    assert await limited.written() == "-9"
    assert limited.pid(Service.AGENT)


async def test_a_fork_bomb_ends_at_the_number_of_tasks(limited: Limited) -> None:
    """Its bridge lives, its keeper is held by no limit, and a stop leaves nothing."""
    bridge = await limited.calm_bridge(Ceilings(tasks=TASKS))
    await limited.start(Service.AGENT, BOMB, Ceilings(tasks=TASKS))
    await limited.written()

    used = groups.used(limited.folders())
    assert used[Limit.TASKS] == TASKS
    assert limited.pid(Service.BRIDGE) == bridge
    assert await limited.bench.stop()
    assert groups.used(limited.folders(Service.BRIDGE))[Limit.TASKS] == 1


async def test_processors_are_shared_out(limited: Limited) -> None:
    """Half a second of processor time takes at least two at a fifth of one: the first period is for nothing."""
    await limited.start(Service.AGENT, BUSY, Ceilings(cpus=0.2))

    assert float(await limited.written()) > 1.5


async def test_changed_limits_hold_what_runs_at_once(limited: Limited) -> None:
    """Up, down, and to none; below what is in use the older hierarchy refuses, and says so."""
    await limited.start(Service.AGENT, CALM, Ceilings(memory=LIMIT, tasks=TASKS, cpus=0.5))
    await limited.bench.until(limited.ready.exists)
    before, folders = limited.pid(Service.AGENT), limited.folders()
    for text in ("128MiB", "48MiB", None):
        wanted = Limits(memory=text, tasks=None if text is None else 50, cpus=1.0)
        assert groups.outdated(folders, limiting.ceilings(wanted))
        limiting.apply(limited.bench.run, wanted)
        assert not groups.outdated(folders, limiting.ceilings(wanted))
        assert groups.memory_limit(folders) == wanted.bytes

    if groups.means(folders)["memory"] is Means.CGROUP1:
        with pytest.raises(OSError, match=r"busy"):
            groups.limit(folders, Ceilings(memory=4096))
    assert limited.pid(Service.AGENT) == before


async def test_the_keeper_is_in_no_group_and_an_adopted_run_keeps_its_limits(limited: Limited) -> None:
    """Killed, it takes nothing with it; the next one finds all, and how it ended is said as ever."""
    await limited.start(Service.AGENT, CALM, MEMORY)
    await limited.bench.until(limited.ready.exists)
    facts, name = limited.bench.facts(), f"ocm-test-{os.getpid()}"

    assert name in Path(f"/proc/{facts.pid}/cgroup").read_text()
    assert name not in Path(f"/proc/{facts.keeper_pid}/cgroup").read_text()
    os.kill(facts.keeper_pid or 0, 9)
    await limited.bench.until(lambda: limited.bench.facts().phase is Phase.ORPHANED)
    await processes.adopt(limited.bench.run, "agent")
    assert limited.bench.facts().groups == facts.groups
    assert int(Path(f"/proc/{facts.pid}/oom_score_adj").read_text()) == 500


async def test_a_group_that_is_gone_keeps_the_service_from_starting(limited: Limited) -> None:
    """It never runs without its limits; the message has the path."""
    launch = replace(limited.bench.launch("hang"), groups={"memory": "/sys/fs/cgroup/memory/there-is-none"})

    with pytest.raises(processes.KeeperError, match=r"there-is-none"):
        await processes.start(limited.bench.run, "agent", launch)


async def test_what_hid_from_everything_else_is_found_in_its_group(limited: Limited, available: Available) -> None:
    """Without environment, parent, session or descriptor of ours, after leader and keeper were killed."""
    folders = groups.make(available, f"ocm-test-{os.getpid()}", "agent")
    await processes.start(limited.bench.run, "agent", replace(limited.bench.launch("hidden"), groups=folders))
    [grandchild], facts = limited.bench.hear("grandchild"), limited.bench.facts()
    await kill(facts.keeper_pid)
    await kill(facts.pid)
    assert limited.bench.living() == [grandchild]

    assert await limited.bench.stop()

    assert limited.bench.living() == []
