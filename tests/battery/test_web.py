"""The proxy to agents' own pages under attack: smuggled requests, pages of others, slow ones, crowds, dying agents."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import resource
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest

from reconciler.frontends.web.proxy import forward
from reconciler.mcpkit import quiet_server
from tests.support.frontends import serving
from tests.support.visits import enter, get
from tests.support.webstage import Stage, a_stage
from tests.support.world import a_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.scoreboard import Score
    from tests.support.world import World

pytestmark = pytest.mark.lane
LENGTHS: Final = ("0", "4", "5", "44", " 5", "5 ", "+5", "-5", "0x5", "5, 5", "5, 6", "05", "5\t", "\xb2", "")
CODINGS: Final = (
    "chunked",
    "Chunked",
    "xchunked",
    " chunked",
    "chunked, identity",
    "gzip, chunked",
    "\x0bchunked",
    '"',
)
BODIES: Final = ("12345", "0\r\n\r\n", "5\r\n12345\r\n0\r\n\r\n", "5;a=b\r\n12345\r\n0\r\nx: y\r\n\r\n", "0\n\n", "")
ENDS: Final = ("\r\n", "\r\n", "\r\n", "\n", "\r", " \r\n", "\r\n ")
HOSTS: Final = (
    *("evil.example", "demo.localhost.evil.example", "demo.localhost:80:80", "demo.localhost/", "demo.localhost#"),
    *("127.0.0.1", "localhost", "demo.localhost.", "demo..localhost", "demo.localhost, evil.example", "\tdemo", ""),
)
ORIGINS: Final = ("null", "http://evil.example", "http://demo.localhost", "http://demo.localhost:1", "file://", "")


@pytest.fixture(name="stage")
async def _stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(forward, "SLOWEST", 0.2)
    monkeypatch.setattr(quiet_server, "HEAD", 0.2)
    async with a_stage(tmp_path) as stage:
        yield stage


def two_ways(dice: random.Random, stage: Stage, cookie: str) -> bytes:
    """A request with odd framing, and behind it one without a cookie that hides in it."""
    hidden = f"GET /hidden HTTP/1.1\r\nhost: {stage.host}\r\n\r\n"
    lines = [f"host: {stage.host}", f"cookie: {cookie}", "connection: keep-alive"]
    for _ in range(dice.randint(1, 3)):
        name = dice.choice(("content-length", "Content-Length", "transfer-encoding", "Transfer-Encoding", "x"))
        values = LENGTHS if "ength" in name else CODINGS
        lines.insert(dice.randrange(len(lines) + 1), f"{name}{dice.choice((':', ': ', ' : '))}{dice.choice(values)}")
    head = "".join(line + dice.choice(ENDS) for line in (f"{dice.choice(('POST', 'GET'))} /seen HTTP/1.1", *lines))
    return f"{head}\r\n{dice.choice(BODIES)}{hidden}{hidden}".encode("latin-1", "replace")


async def test_smuggled_requests(stage: Stage, score: Score) -> None:
    """Requests that two parsers would read differently: what hides in one never reaches the agent."""
    dice, cookie = random.Random(20261128), await stage.enter()  # noqa: S311  the same each time
    for turn in score.times(150, 5000):
        score.tried()
        stage.agent.heard.clear()
        sent = two_ways(dice, stage, cookie)
        await stage.raw(sent)
        heard = [one[1] for one in stage.agent.heard]
        score.expect(heard in ([], [b"/seen"]), f"{turn}: {sent!r} became {heard}")
    score.expect((await stage.ask(cookie=cookie)).status == 200, "it serves nobody any more")


async def test_pages_of_others(stage: Stage, score: Score) -> None:
    """Wrong hosts and foreign origins, with a cookie that is right: nothing reaches the agent."""
    dice, cookie = random.Random(20261128), await stage.enter()  # noqa: S311  the same each time
    for turn in score.times(150, 3000):
        score.tried()
        wrong: dict[str, Any] = {}
        while not wrong:
            wrong |= {"host": dice.choice(HOSTS)} if dice.random() < 0.5 else {}
            wrong |= {"origin": dice.choice(ORIGINS) or "x"} if dice.random() < 0.5 else {}
        raw = await stage.raw(stage.request("/seen", dice.choice(("GET", "POST")), cookie=cookie, **wrong))
        status = raw.split()[1] if raw else b""
        score.expect(status in {b"400", b"403", b"404", b"421"}, f"{turn}: {wrong} was answered {status!r}")
    score.expect(not stage.agent.heard, f"the agent heard {stage.agent.heard}")


async def test_slow_bodies(stage: Stage, score: Score) -> None:
    """Bodies that stop coming: each is given up, the agent is asked nothing, and others are served meanwhile."""
    cookie = await stage.enter()
    for turn in score.times(5, 100):
        score.tried()
        sent = stage.request("/slow", "POST", cookie=cookie, content_length="1000") + b"x" * turn
        answer, other = await stage.raw(sent), await stage.ask("/seen", cookie=cookie)
        score.expect(b" 408 " in answer[:20], f"{turn}: {answer!r}")
        score.expect(other.status == 200, f"{turn}: another was answered {other.status}")
    score.expect(b"/slow" not in {one[1] for one in stage.agent.heard}, "the agent took half of a body for the whole")


# -- a real controller ------------------------------------------------------------------------------------------------


@pytest.fixture(name="visited", scope="module")
def _visited(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]) -> Iterator[tuple[World, int]]:
    """A controller, and where it serves."""
    with a_world(tmp_path_factory.mktemp("visited"), ports) as world:
        yield world, serving(world)


@contextlib.contextmanager
def a_project(world: World, port: int, name: str) -> Iterator[str]:
    """A project that never crashed before, so that its restart comes at once; the cookie of a browser let in there."""
    world.light(name)
    world.ready(name)
    yield enter(world, port, name)
    world.light(name, state="absent", discard_unpushed="true")
    world.until(lambda: not world.status(name), f"nothing of {name}")


def end(world: World, name: str) -> None:
    """Kill the agent, and wait until another one is ready."""
    pid = world.status(name)["agent"]["pid"]
    os.kill(pid, signal.SIGKILL)
    world.wait(name, lambda status: status["ready"]["status"] and status["agent"]["pid"] != pid)


@contextlib.contextmanager
def asking(score: Score, port: int, name: str, cookie: str, whole: str) -> Iterator[None]:
    """Four browsers that ask all the time within; what is neither whole nor an error is a violation."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                page = get(port, name, cookie=cookie)
                score.tried()
                kept = page.body == whole if page.status == 200 else page.status in {502, 503}
                score.expect(kept, f"{name} was answered {page}")

    browsers = [threading.Thread(target=ask) for _ in range(4)]
    for browser in browsers:
        browser.start()
    try:
        yield
    finally:
        over.set()
        for browser in browsers:
            browser.join()


def test_agent_killed_in_mid_stream(visited: tuple[World, int], score: Score) -> None:
    """An agent killed while browsers ask it: each answer is whole, an error, or breaks off; then the same tab works."""
    world, port = visited
    for turn in score.times(2, 30):
        with a_project(world, port, name := f"killed-{turn}") as cookie:
            with asking(score, port, name, cookie, get(port, name, cookie=cookie).body):
                end(world, name)
            score.expect(get(port, name, cookie=cookie).status == 200, f"{name}: the same tab does not work again")


def test_a_thousand_connections(visited: tuple[World, int], score: Score) -> None:
    """A thousand connections that say nothing: most are dropped, and the controller restarts an agent meanwhile."""
    world, port = visited
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2048, hard)), hard))
    for turn in score.times(1, 10):
        score.tried()
        with a_project(world, port, name := f"crowded-{turn}") as cookie:
            with contextlib.ExitStack() as crowd:
                for _ in range(1000):
                    crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
                end(world, name)
                files = psutil.Process(world.controllers[0].pid).num_fds()
                score.expect(files < quiet_server.MOST + 100, f"{turn}: the controller has {files} files open")
            score.expect(get(port, name, cookie=cookie).status == 200, f"{turn}: nobody is served when they have gone")
