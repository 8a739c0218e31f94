"""Network faults: taken ports, strangers on them, and agents that answer late, wrongly or not at all."""

from __future__ import annotations

import base64
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler import settings
from tests.support.battery import SERVICES
from tests.support.faults import Stranger, copies, start_impatient
from tests.support.world import a_world, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scoreboard import Score
    from tests.support.world import Status, World

LONG = {False: 1, True: 20}
"""Seconds, in the short form and in the long one."""
ANSWERS = ("likeus", "healthy", "silent")


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


def judge(world: World, score: Score, stranger: Stranger, when: str) -> None:
    """It lives, and heard no secret."""
    heard = stranger.heard()
    for key in ("OPENCODE_SERVER_PASSWORD", "MCP_TOOL_BEARER_TOKEN"):
        secret = read_env(world.home.sandbox("app").env_file)[key].encode()
        sent = secret in heard or base64.b64encode(b"opencode:" + secret) in heard or b"authorization" in heard.lower()
        score.expect(not sent, f"{when}: the stranger was sent {key}: {heard!r}")
    score.expect(stranger.process.poll() is None, f"{when}: the stranger was killed")


def untrusted(world: World, score: Score, stranger: Stranger, when: str, service: str = "agent") -> None:
    """The project says who is in the way, and is not ready."""
    status = world.wait("app", lambda status: str(stranger.process.pid) in status["message"])
    score.expect(not status["ready"]["status"] and "cannot" in status["message"], f"{when}: {status['message']}")
    score.expect(status[service]["state"] != "running", f"{when}: the {service} is called running")
    judge(world, score, stranger, when)


def test_taken_before(world: World, score: Score, ports: tuple[range, range]) -> None:
    """A port taken before the start: its holder is named, told nothing, left alone, and waited for."""
    fixed = {"agent": ports[0][0], "bridge": ports[1][0]}
    fields = {service: f"{{port: {port}}}" for service, port in fixed.items()}
    world.light("app", **fields, state="stopped")
    world.start()
    world.ready("app")
    for turn in score.times(2, 12):
        score.tried()
        answer, service = ANSWERS[turn % 3], SERVICES[turn % 2]
        with Stranger(fixed[service], answer, world.root / f"heard-{turn}") as stranger:
            world.light("app", **fields)
            untrusted(world, score, stranger, f"taken before, {answer}, port of the {service}", service)
        world.light("app", **fields)
        status = world.wait("app", is_ready)
        score.expect({one: status[one]["port"] for one in SERVICES} == fixed, f"other ports: {status}")
        world.light("app", **fields, state="stopped")
        world.wait("app", lambda status: status["reason"] == "Stopped")


def test_taken_between(world: World, score: Score) -> None:
    """A port taken after it was found free and before the agent binds it: not trusted, not told, no second agent."""
    world.start()
    for turn in score.times(2, 9):
        score.tried()
        gate = world.root / f"gate-{turn}"
        world.light("app", f"wait={gate}")
        status = world.wait("app", lambda status: status["agent"]["pid"] and not status["ready"]["status"])
        answer = ANSWERS[turn % 3]
        with Stranger(status["agent"]["port"], answer, world.root / f"heard-{turn}") as stranger:
            gate.touch()
            psutil.wait_procs([psutil.Process(status["agent"]["pid"])], timeout=60)
            untrusted(world, score, stranger, f"taken between, {answer}")
            agents = copies(world, "agent")
            score.expect(len(agents) <= 1, f"agents: {agents}")
        world.light("app", f"wait={gate}")
        world.wait("app", is_ready)
        world.light("app", f"wait={gate}", state="stopped")
        world.wait("app", lambda status: status["reason"] == "Stopped")


def test_taken_after_a_crash(world: World, score: Score) -> None:
    """A port taken when its agent crashed, the controller dead or alive: not trusted, not told; the port is kept."""
    world.light("app")
    controller = world.start()
    before = world.ready("app")
    for turn in score.times(2, 12):
        score.tried()
        answer, dead, service = ANSWERS[turn % 3], turn % 2, SERVICES[turn // 2 % 2]
        if dead:
            world.kill()
        else:
            controller.send_signal(signal.SIGSTOP)
        victim = psutil.Process(world.status("app")[service]["pid"])
        victim.kill()
        psutil.wait_procs([victim], timeout=60)
        with Stranger(before[service]["port"], answer, world.root / f"heard-{turn}") as stranger:
            if dead:
                controller = world.start()
            else:
                controller.send_signal(signal.SIGCONT)
            when = f"taken after a crash of the {service}, {answer}, controller {'dead' if dead else 'alive'}"
            untrusted(world, score, stranger, when, service)
        world.light("app")
        after = world.wait("app", lambda status: is_ready(status) and status[service]["pid"] != victim.pid)  # noqa: B023  called at once
        for one in SERVICES:
            score.expect(after[one]["port"] == before[one]["port"], f"another port of the {one}")
        agents = copies(world, "agent")
        score.expect(len(agents) == 1, f"agents: {agents}")


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.fixture(name="answers", scope="module")
def _answers(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], pytestconfig: pytest.Config
) -> Iterator[World]:
    """Seven agents that answer in their own ways, under one controller with little patience."""
    full = pytestconfig.getoption("--full")
    with a_world(tmp_path_factory.mktemp("answers"), ports) as world:
        for name in ("hang", "html", "deaf", "login"):
            world.light(name, name)
        for name in ("slow", "late"):
            world.light(name, f"{name}={LONG[full]}")
        world.light("sick", f"sick={world.root / 'sick'}")
        start_impatient(world, start_timeout=30 if full else 5, liveness=0.5, agent_starts=7)
        yield world


@pytest.mark.xdist_group("answers")
def test_wrong_answers(answers: World, score: Score) -> None:
    """An agent that answers wrongly is called unresponsive, lives, and is ready again by itself."""
    before = answers.ready("sick")
    for _ in score.times(1, 5):
        score.tried()
        answers.root.joinpath("sick").touch()
        answers.wait("sick", lambda status: status["agent"]["state"] == "unresponsive")
        answers.root.joinpath("sick").unlink()
        after = answers.wait("sick", is_ready)
        score.expect(after["agent"]["pid"] == before["agent"]["pid"], "it was restarted")
        score.expect(after["agent"]["restarts"] == 0, "a restart was counted")


@pytest.mark.xdist_group("answers")
@pytest.mark.parametrize("name", ["slow", "late"])
def test_a_slow_start(answers: World, score: Score, name: str) -> None:
    """An agent that listens or answers late (after 20 s in the long form): ready only then, and not started twice."""
    status = answers.ready(name)
    score.tried()
    score.expect(status["agent"]["restarts"] == 0 and not status["agent"]["last_exit"], "it was started twice")
    took = status["ready"]["since"] - status["agent"]["started"]
    score.expect(took >= LONG[score.full], f"it is called ready after {took:.1f} s")
    agents = copies(answers, f"--port {status['agent']['port']}")
    score.expect(agents == [status["agent"]["pid"]], f"agents: {agents}")


@pytest.mark.xdist_group("answers")
@pytest.mark.parametrize("name", ["hang", "deaf"])
def test_never_healthy(answers: World, score: Score, name: str) -> None:
    """An agent that never answers, or never listens, is never ready, and never two of it."""
    seen: set[int] = set()
    for _ in score.times(2, 4):
        score.tried()
        status = answers.wait(name, lambda status: status["agent"]["pid"] not in {None, *seen})
        seen.add(status["agent"]["pid"])
        score.expect(not status["ready"]["status"], "it is called ready")
        agents = copies(answers, f"--port {status['agent']['port']}")
        score.expect(len(agents) <= 1, f"agents: {agents}")


@pytest.mark.xdist_group("answers")
def test_a_page_for_everybody(answers: World, score: Score) -> None:
    """A server that answers a page to everybody is not trusted with anything."""
    status = answers.wait("html", lambda status: status["stalled"]["status"])
    score.tried()
    score.expect("cannot trust" in status["message"] and not status["ready"]["status"], f"it says {status['message']}")


@pytest.mark.xdist_group("answers")
def test_a_page_behind_the_password(answers: World, score: Score) -> None:
    """A server that asks for the password but answers a page instead of an agent's answer is not called ready."""
    status = answers.wait("login", lambda status: is_ready(status) or status["reason"] in {"NotReady", "CrashLoop"})
    score.tried()
    score.expect(not status["ready"]["status"], "a page was taken for an agent")
    assert not score.violations


@pytest.mark.xdist_group("answers")
def test_they_all_end(answers: World, score: Score) -> None:
    """However an agent answers, stopped leaves nothing of it."""
    for name in ("hang", "html", "deaf", "login", "slow", "late", "sick"):
        answers.light(name, state="stopped")
    for name in ("hang", "html", "deaf", "login", "slow", "late", "sick"):
        score.tried()
        answers.wait(name, lambda status: status["reason"] == "Stopped")
    score.expect(not answers.processes(), f"left: {answers.lines()}")


# -- silence -----------------------------------------------------------------------------------------------------------


def test_silence(world: World, score: Score) -> None:
    """A silent agent that works is called unresponsive and lives, however long it is; an idle one is started anew."""
    world.environment[settings.WEDGED_VARIABLE] = "8" if score.full else "2"  # longer than a probe may take
    for name in ("busy", "idle"):
        world.light(name, f"{name}={world.root / name}")
    _ = world.start() if score.full else start_impatient(world, liveness=0.5, probe=0.2)
    before = world.ready("busy")["agent"]
    world.ready("idle")
    world.root.joinpath("busy").touch()
    for turn in score.times(2, 6):
        score.tried(2)
        idle = world.wait("idle", is_ready)["agent"]
        world.root.joinpath("idle").touch()
        wedged = world.wait("idle", lambda status, turn=turn: status["agent"]["restarts"] > turn)["agent"]  # type: ignore[misc]
        score.expect(wedged["last_exit"] == "being wedged", f"it is said to have ended by {wedged['last_exit']}")
        world.root.joinpath("idle").unlink()
        after = world.wait("idle", is_ready)["agent"]
        score.expect(after["pid"] != idle["pid"] and after["restarts"] == turn + 1, f"{idle} became {after}")
    busy = world.status("busy")["agent"]
    score.expect(busy["state"] == "unresponsive", f"the busy one is {busy['state']}")
    assert busy["pid"] == before["pid"], f"it was ended by {busy['last_exit']}"
    score.expect(psutil.Process(before["pid"]).cpu_times().user > 1, "the busy one was not busy")
    world.root.joinpath("busy").unlink()
    after = world.wait("busy", is_ready)["agent"]
    score.expect((after["pid"], after["restarts"]) == (before["pid"], 0), f"{before} became {after}")
