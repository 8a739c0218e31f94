"""Network faults: taken ports, strangers on them, and agents that answer late, wrongly or not at all."""

from __future__ import annotations

import base64
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.faults import Stranger, start_impatient
from tests.support.world import a_world, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scoreboard import Score
    from tests.support.world import Status, World

ANSWERS = ("likeus", "healthy", "silent")


def is_ready(status: Status) -> bool:
    return bool(status["ready"]["status"]) and status["reason"] == "Running"


def agents(world: World) -> list[int]:
    return [pid for pid, line in world.lines().items() if "lightagent.py" in line]


def judge(world: World, score: Score, stranger: Stranger, when: str) -> None:
    """It lives, and heard no secret."""
    heard = stranger.heard()
    for key in ("OPENCODE_SERVER_PASSWORD", "MCP_TOOL_BEARER_TOKEN"):
        secret = read_env(world.home.sandbox("app").env_file)[key].encode()
        told = secret in heard or base64.b64encode(b"opencode:" + secret) in heard or b"authorization" in heard.lower()
        score.expect(not told, f"{when}: the stranger was sent {key}: {heard!r}")
    score.expect(stranger.process.poll() is None, f"{when}: the stranger was killed")


def untrusted(world: World, score: Score, stranger: Stranger, when: str) -> None:
    """The project says who is in the way, and is not ready."""
    status = world.wait("app", lambda status: str(stranger.process.pid) in status["message"])
    score.expect(not status["ready"]["status"] and "cannot" in status["message"], f"{when}: {status['message']}")
    score.expect(status["agent"]["state"] != "running", f"{when}: the agent is called running")
    judge(world, score, stranger, when)


def test_taken_before(world: World, score: Score, ports: tuple[range, range]) -> None:
    """A port taken before the start: its holder is named, told nothing, left alone, and waited for."""
    port = ports[0][0]
    world.light("app", agent=f"{{port: {port}}}", state="stopped")
    world.start()
    world.ready("app")
    for turn in score.times(2, 9):
        score.tried()
        answer = ANSWERS[turn % 3]
        with Stranger(port, answer, world.root / f"heard-{turn}") as stranger:
            world.light("app", agent=f"{{port: {port}}}")
            untrusted(world, score, stranger, f"taken before, {answer}")
        world.light("app", agent=f"{{port: {port}}}")
        score.expect(world.wait("app", is_ready)["agent"]["port"] == port, "the port was changed")
        world.light("app", agent=f"{{port: {port}}}", state="stopped")
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
            score.expect(len(agents(world)) <= 1, f"{len(agents(world))} agents")
        world.light("app", f"wait={gate}")
        world.wait("app", is_ready)
        world.light("app", f"wait={gate}", state="stopped")
        world.wait("app", lambda status: status["reason"] == "Stopped")


def test_taken_after_a_crash(world: World, score: Score) -> None:
    """A port taken when its agent crashed, the controller dead or alive: not trusted, not told; the port is kept."""
    world.light("app")
    controller = world.start()
    before = world.ready("app")
    for turn in score.times(2, 9):
        score.tried()
        answer, dead = ANSWERS[turn % 3], turn % 2
        if dead:
            world.kill()
        else:
            controller.send_signal(signal.SIGSTOP)
        victim = psutil.Process(world.status("app")["agent"]["pid"])
        victim.kill()
        psutil.wait_procs([victim], timeout=60)
        with Stranger(before["agent"]["port"], answer, world.root / f"heard-{turn}") as stranger:
            if dead:
                controller = world.start()
            else:
                controller.send_signal(signal.SIGCONT)
            untrusted(
                world, score, stranger, f"taken after a crash, {answer}, controller {'dead' if dead else 'alive'}"
            )
        world.light("app")
        after = world.wait("app", lambda status: is_ready(status) and status["agent"]["pid"] != victim.pid)  # noqa: B023  called at once
        score.expect(after["agent"]["port"] == before["agent"]["port"], "another port")
        score.expect(len(agents(world)) == 1, f"{len(agents(world))} agents")


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.fixture(name="answers", scope="module")
def _answers(
    tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range], pytestconfig: pytest.Config
) -> Iterator[World]:
    """Six agents that answer in their own ways, under one controller with little patience."""
    full = pytestconfig.getoption("--full")
    with a_world(tmp_path_factory.mktemp("answers"), ports) as world:
        for name in ("hang", "html", "deaf", "login"):
            world.light(name, name)
        world.light("slow", f"slow={20 if full else 1}")
        world.light("busy", f"{'busy' if full else 'sick'}={world.root / 'busy'}")
        start_impatient(world, start_timeout=30 if full else 2.5, liveness=0.5, agent_starts=6)
        yield world


def alive(world: World, name: str) -> list[int]:
    """Agents on the port of a project."""
    option = f"--port {world.status(name)['agent']['port']}"
    return [pid for pid, line in world.lines().items() if option in line and "lightagent.py" in line]


def test_a_busy_agent(answers: World, score: Score) -> None:
    """A busy agent that misses probes is called unresponsive, lives, and is ready again by itself."""
    before = answers.ready("busy")
    for _ in score.times(1, 5):
        score.tried()
        answers.root.joinpath("busy").touch()
        answers.wait("busy", lambda status: status["agent"]["state"] == "unresponsive")
        answers.root.joinpath("busy").unlink()
        after = answers.wait("busy", is_ready)
        score.expect(after["agent"]["pid"] == before["agent"]["pid"], "it was restarted")
        score.expect(after["agent"]["restarts"] == 0, "a restart was counted")


def test_a_slow_start(answers: World, score: Score) -> None:
    """An agent that answers only after a long time (20 s in the long form) becomes ready without a restart."""
    status = answers.ready("slow")
    score.tried()
    score.expect(status["agent"]["restarts"] == 0 and not status["agent"]["last_exit"], "it was started twice")


@pytest.mark.parametrize("name", ["hang", "deaf"])
def test_never_healthy(answers: World, score: Score, name: str) -> None:
    """An agent that never answers, or never listens, is never ready, and never two of it."""
    seen: set[int] = set()
    for _ in score.times(2, 4):
        score.tried()
        status = answers.wait(name, lambda status: status["agent"]["pid"] not in {None, *seen})
        seen.add(status["agent"]["pid"])
        score.expect(not status["ready"]["status"], "it is called ready")
        score.expect(len(alive(answers, name)) <= 1, f"{len(alive(answers, name))} agents")


def test_a_page_for_everybody(answers: World, score: Score) -> None:
    """A server that answers a page to everybody is not trusted with anything."""
    status = answers.wait("html", lambda status: status["stalled"]["status"])
    score.tried()
    score.expect("cannot trust" in status["message"] and not status["ready"]["status"], f"it says {status['message']}")


def test_a_page_behind_the_password(answers: World, score: Score) -> None:
    """A server that asks for the password but answers a page instead of an agent's answer is not called ready."""
    status = answers.wait("login", lambda status: is_ready(status) or status["reason"] in {"NotReady", "PortTaken"})
    score.tried()
    score.expect(not status["ready"]["status"], "a page was taken for an agent")
    assert not score.violations


def test_they_all_end(answers: World, score: Score) -> None:
    """However an agent answers, stopped leaves nothing of it."""
    for name in ("hang", "html", "deaf", "login", "slow", "busy"):
        answers.light(name, state="stopped")
    for name in ("hang", "html", "deaf", "login", "slow", "busy"):
        score.tried()
        answers.wait(name, lambda status: status["reason"] == "Stopped")
    score.expect(not answers.processes(), f"left: {answers.lines()}")
