"""Nobody is taken for somebody else: reused pids, another boot, a wrong clock, deleted locks, too many controllers."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.core import restarts
from reconciler.engines.local.keeper import identity
from reconciler.state import published
from reconciler.system import files
from tests.support.battery import SERVICES, Wanted, Witness, census, kill, pids, record, runs, settle, uid
from tests.support.world import PATIENCE, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scoreboard import Score

YEAR = 365 * 86400.0
RUNNING = Wanted(state="running")
ALL = ("keeper", "leader", "offspring")
"""Whose pids can be given away together: what lives on within bubblewrap keeps its session's number from others."""
SPACES = (["unshare", "-Urpf", "--mount-proc", "--kill-child"], ["unshare", "-pf", "--mount-proc", "--kill-child"])
"""Ways into a pid namespace of one's own: as an ordinary user, and as root where that is forbidden."""


class Street:
    """A world with one project, its witness, and strangers that must live."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.witness = Witness(world)
        self.strangers: list[subprocess.Popen[bytes]] = []
        self.broken: list[str] = []

    def begin(self) -> None:
        """The project runs."""
        self.world.environment["PATH"] = f"{Path(sys.executable).parent}:{self.world.environment['PATH']}"
        self.world.light("app")
        self.come_to("at first", RUNNING)

    def come_to(self, what: str, wanted: Wanted) -> None:
        """Start a controller if there is none, and wait until it is so; notes what is broken then."""
        if not self.world.controllers:
            self.world.start()
        self.broken += [f"{what}: {seen}" for seen in settle(self.world, self.witness, {"app": wanted})]
        for stranger in self.strangers:
            if stranger.poll() is not None or psutil.Process(stranger.pid).status() == psutil.STATUS_STOPPED:
                self.broken.append(f"{what}: the stranger {stranger.pid} was signalled")
                self.strangers.remove(stranger)

    def restart_fresh(self) -> None:
        """Another project of the same name, which has no crashes to wait for."""
        self.world.light("app", state="absent")
        self.come_to("a destroy", Wanted(state="gone", uid=uid(self.world, "app")))
        self.world.light("app")
        self.come_to("anew", RUNNING)

    def die(self, *roles: str) -> list[int]:
        """Kill the controllers and everybody of these roles; says whom."""
        self.world.kill()
        return sorted(kill(member for member in census(self.world) if member.role in roles))

    def close(self) -> None:
        """Strangers may go."""
        for stranger in self.strangers:
            stranger.kill()
            stranger.wait()
        self.strangers.clear()


@pytest.fixture(name="street")
def _street(process_world: World, confinement: str) -> Iterator[Street]:
    street = Street(process_world)
    with contextlib.closing(street):
        street.begin()
        assert process_world.status("app")["confinement"] == confinement
        yield street
        street.die(*ALL)  # faster than asking them


def count(world: World) -> int:
    """Restarts of the agent."""
    return int(world.status("app")["agent"]["restarts"])


# -- pids that are used again ------------------------------------------------------------------------------------------


def take(pid: int) -> subprocess.Popen[bytes]:
    """A stranger with the pid of a dead process. Needs to be the first process of a pid namespace."""
    for _ in range(500):  # threads and other processes take numbers too, and orphans want to be reaped
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        stranger = subprocess.Popen(["/bin/sleep", "1000"], env={})
        if stranger.pid == pid:
            return stranger
        stranger.kill()
        stranger.wait()
    raise AssertionError(f"cannot get the pid {pid}")


def succeed(street: Street, dead: list[int]) -> None:
    """Strangers take the places of the dead."""
    street.strangers += [take(pid) for pid in dead]


def live_among_strangers(root: Path, ports: tuple[range, range], turns: int, confinement: str) -> Iterator[list[str]]:
    """What is broken, try by try. The first process of a pid namespace runs this."""
    with a_world(root, ports) as world, contextlib.closing(Street(world)) as street:
        world.confine(confinement)
        street.begin()
        for turn in range(turns):
            if turn:
                street.restart_fresh()
            kept = pids(world, "app")
            succeed(street, street.die("keeper"))
            street.come_to("strangers have the pids of the keepers", Wanted(state="running", kept=kept))
            yield street.broken
            over = runs(world, "app")
            succeed(street, street.die(*ALL))
            street.come_to("strangers have all pids", Wanted(state="running", over=over))
            yield street.broken
            succeed(street, street.die(*ALL))
            world.light("app", state="stopped")
            street.come_to("strangers have all pids, and stopped is wanted", Wanted(state="stopped"))
            yield street.broken
            street.close()
        world.kill()
        kill(census(world))


def a_space() -> list[str]:
    """The way into a pid namespace that works here."""
    tries = [subprocess.run([*space, "true"], capture_output=True, text=True, check=False) for space in SPACES]
    for space, done in zip(SPACES, tries, strict=True):
        if done.returncode == 0:
            return space
    pytest.skip(f"cannot make a pid namespace here: {tries[0].stderr.strip()}")


def test_reused_pids(tmp_path: Path, ports: tuple[range, range], score: Score, confinement: str) -> None:
    """Pids of killed keepers and services given to strangers: never signalled, never adopted."""
    numbers = [str(number) for share in ports for number in (share[0], share[-1] + 1)]
    turns = len(score.times(1, 20))
    command = [sys.executable, "-m", "tests.battery.test_identity", str(tmp_path), *numbers, str(turns), confinement]
    done = subprocess.run([*a_space(), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tries = [json.loads(line) for line in done.stdout.splitlines()]
    score.tried(len(tries))
    for broken in tries[-1]:
        score.violation(broken)


# -- another boot ------------------------------------------------------------------------------------------------------


def reboot(street: Street, stranger: subprocess.Popen[bytes] | None) -> None:
    """What a reboot leaves: records of another boot, in which a stranger's identity may stand, and old back-offs."""
    run = street.world.home.sandbox("app").run
    for service in SERVICES:
        for kind in ("run", "exit"):
            path = str(run / f"{service}.{kind}.json")
            found = identity.read_record(path) | {"boot_id": "another-boot"}
            if kind == "run" and stranger is not None:
                found |= dict.fromkeys(("leader", "keeper"), identity.identify(stranger.pid))
            if "run_id" in found:
                identity.write_record(path, found)
    ledger = files.read_json(run / "ledger.json") or {}
    for history in ledger["restarts"].values():
        history |= {"boot_id": "another-boot", "not_before": time.clock_gettime(time.CLOCK_BOOTTIME) + 1e6}
    files.replace_file(run / "ledger.json", json.dumps(ledger).encode())


def test_another_boot(street: Street, score: Score) -> None:
    """A reboot with stale records, a stranger's pid in every second: started anew at once, nobody signalled."""
    for turn in score.times(2, 50):
        before, over = count(street.world), runs(street.world, "app")
        street.die("keeper", "leader")
        stranger = None
        if turn % 2:
            stranger = subprocess.Popen(["/bin/sleep", "1000"], env={})
            street.strangers.append(stranger)
        reboot(street, stranger)
        street.come_to("after a reboot", Wanted(state="running", over=over))
        score.expect(count(street.world) == before, f"{before} restarts became {count(street.world)}")
        score.tried()
    score.violations += street.broken


# -- a wrong clock -----------------------------------------------------------------------------------------------------

SHIFT = """import os, time
shift, true, true_ns = float(os.environ["SHIFTED_CLOCK"]), time.time, time.time_ns
time.time = lambda: true() + shift
time.time_ns = lambda: true_ns() + int(shift * 1e9)
"""
"""The controller's `sitecustomize`. A fake: it moves what Python code asks for, not the clock of the machine."""


def test_a_wrong_clock(street: Street, score: Score) -> None:
    """Wall clock of the controller a year off, both ways: adoption, counters and back-off as ever."""
    world, run = street.world, street.world.home.sandbox("app").run
    fake = world.root / "fake"
    fake.mkdir()
    (fake / "sitecustomize.py").write_text(SHIFT)
    world.environment["PYTHONPATH"] = str(fake)
    for turn in score.times(2, 6):
        shift = YEAR if turn % 2 == 0 else -YEAR
        before, kept = count(world), pids(world, "app")
        street.die()
        world.environment["SHIFTED_CLOCK"] = str(shift)
        street.come_to(f"clock moved by {shift:.0f} s", Wanted(state="running", kept=kept))
        published_now = published.read(world.home).controller
        assert published_now is not None
        assert abs(published_now.started - time.time() - shift) < YEAR / 2, "the clock was not moved"
        score.expect(count(world) == before, "the counter moved with the clock")
        over = {record(world, "app", "agent")["run_id"]}
        kill(member for member in census(world) if member.role == "leader" and member.service == "agent")
        street.come_to(f"agent killed, clock moved by {shift:.0f} s", Wanted(state="running", over=frozenset(over)))
        score.expect(count(world) == before + 1, f"{before} restarts became {count(world)}")
        streak = (files.read_json(run / "ledger.json") or {})["restarts"]["agent"]["streak"]
        waited = record(world, "app", "agent")["started"] - identity.read_record(f"{run}/agent.exit.json")["at"]
        least = 0.8 * restarts.BASE * 2.0 ** (streak - 2) if streak > 1 else 0.0
        score.expect(least <= waited < least + PATIENCE, f"restart {streak} came after {waited:.1f} s")
        score.tried()
    score.violations += street.broken


# -- locks -------------------------------------------------------------------------------------------------------------


def unlock(world: World) -> None:
    """Delete the lock files of all services."""
    for path in world.home.sandbox("app").run.glob("*.lock"):
        path.unlink()


def test_deleted_locks_of_keepers(street: Street, score: Score) -> None:
    """Keepers' lock files deleted: no second copy, same pids where they lived."""
    for turn in score.times(1, 30):
        if turn:
            street.restart_fresh()
        for dead in ((), ("keeper",), ("keeper", "leader")):
            what = f"locks deleted, killed: the controller {' '.join(dead)}"
            unlock(street.world)
            wanted = Wanted(state="running", kept=pids(street.world, "app"))
            if "leader" in dead:
                wanted = Wanted(state="running", over=runs(street.world, "app"))
            street.die(*dead)
            street.come_to(what, wanted)
            score.tried()
        over = runs(street.world, "app")
        unlock(street.world)
        street.world.light("app", restarted_at=f"at {os.urandom(4).hex()}")
        street.come_to("locks deleted before a restart", Wanted(state="running", over=over))
        score.tried()
    score.violations += street.broken


def led(world: World) -> dict[int, float]:
    """When which controller began to lead, by pid."""
    log = world.home.controller / "controller.log"
    text = log.read_text() if log.exists() else ""
    lines = [json.loads(line) for line in text.split("\n")[:-1] if '"controller started"' in line]
    return {line["pid"]: datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines}


@contextlib.contextmanager
def endings(world: World) -> Iterator[None]:
    """Controllers may end meanwhile."""
    crowd, world.controllers = world.controllers, []
    try:
        yield
    finally:
        world.controllers = [controller for controller in crowd if controller.poll() is None]


def leads(world: World, controller: subprocess.Popen[bytes]) -> bool:
    """Whether a controller leads; waits until it does or has ended."""
    with endings(world):
        world.until(lambda: controller.poll() is not None or controller.pid in led(world), "it leads or ends")
    return controller.poll() is None


def test_deleted_lock_of_the_controller(street: Street, score: Score) -> None:
    """Controller's lock file deleted: a second one does not lead beside the first."""
    for _ in score.times(1, 10):
        street.come_to("one controller", RUNNING)
        [first] = street.world.controllers
        street.world.home.controller.joinpath("lock").unlink()
        second = street.world.start()
        score.expect(not leads(street.world, second) or first.poll() is not None, "both lead")
        score.tried()
        street.world.kill()
    score.violations += street.broken
    assert not score.violations


def test_two_controllers(street: Street, score: Score) -> None:
    """Controller's lock file deleted and a second one started: whoever acts, there is one copy."""
    world = street.world
    for _ in score.times(1, 20):
        over = runs(world, "app")
        world.home.controller.joinpath("lock").unlink(missing_ok=True)
        leads(world, world.start())
        world.light("app", restarted_at=f"at {os.urandom(4).hex()}")

        def replaced(over: frozenset[str] = over) -> bool:
            street.broken.extend(street.witness.look())
            members = [member for member in census(world) if member.role != "offspring"]  # what is within bubblewrap
            return runs(world, "app").isdisjoint(over) and len(members) == 4

        world.until(replaced, "two services and two keepers, all of them new")
        score.tried()
        world.kill()
        street.come_to("one controller again", Wanted(state="running", kept=pids(world, "app")))
    score.violations += street.broken


# -- many controllers --------------------------------------------------------------------------------------------------


def waiting(world: World) -> int:
    """How many controllers wait for the lock."""
    inode = f":{world.home.controller.joinpath('lock').stat().st_ino} "
    return sum("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def take_over(world: World) -> float:
    """Kill the leader; after how many seconds another one leads, which is the last of the controllers from then on."""
    before, killed = set(led(world)), time.time()
    leader = world.controllers.pop()
    leader.kill()
    leader.wait()
    pid = min(world.until(lambda: set(led(world)) - before, "another leader"))
    world.controllers.sort(key=lambda controller: controller.pid == pid)
    return led(world)[pid] - killed


def test_twenty_controllers(world: World, score: Score) -> None:
    """20 controllers started at once: one leads; when it is killed another one does within a second."""
    world.light("app")
    crowd = [world.start(*(["--standby"] * (turn % 2))) for turn in range(20)]
    with endings(world):
        leader = min(world.until(lambda: led(world), "a leader"))
        codes = {controller.wait(PATIENCE) for controller in crowd[::2] if controller.pid != leader}
    world.controllers.sort(key=lambda controller: controller.pid == leader)
    score.expect(codes == {1}, f"those who did not wait ended with {codes}")
    score.expect(len(led(world)) == 1, f"{len(led(world))} led")
    witness, wanted, seconds = Witness(world), RUNNING, list[float]()
    tries = 9 if score.full else 3
    while len(seconds) < tries:
        world.until(lambda: waiting(world) == len(world.controllers) - 1, "all others wait")
        score.violations += settle(world, witness, {"app": wanted})
        wanted = Wanted(state="running", kept=pids(world, "app"))
        seconds.append(take_over(world))
        score.expect(len(led(world)) == len(seconds) + 1, f"{len(led(world))} led, {len(seconds)} were killed")
        score.tried()
    score.violations += settle(world, witness, {"app": wanted})
    print(f"takeover: median {statistics.median(seconds):.3f} s of {len(seconds)}")  # noqa: T201  a figure for the reader
    world.kill()
    kill(census(world))


if __name__ == "__main__":
    low = [int(word) for word in sys.argv[2:7]]
    for found in live_among_strangers(Path(sys.argv[1]), (range(*low[:2]), range(*low[2:4])), low[4], sys.argv[7]):
        sys.stdout.write(f"{json.dumps(found)}\n")
