"""Measure what only ours can do: a resync of many projects, and the readiness of the real OpenCode."""

from __future__ import annotations

import asyncio
import base64
import http.client
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import watchfiles

from reconciler import settings as settings_module
from reconciler.agents.opencode.kind import OPENCODE
from reconciler.engines.local.toolchain import Toolchains
from reconciler.state import published
from tests.bench import machine, table
from tests.bench.ours import NEVER, start_controller
from tests.support.world import World, a_world, read_env

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.ours import Ours
    from tests.bench.table import Figures

RESYNC = 5.0
"""Seconds between two looks at the spec files, here: more often than anybody needs, to have more of them."""
CALM = 10.0
"""Seconds in which what a start brings with it is over."""


def resync(ours: Ours, figures: Figures) -> None:
    """Many stopped projects, each with a sandbox, a clone and a history: copies of one that ran."""
    count, (original,) = figures.effort.resynced, ours.projects
    world, spec = ours.world, ours.world.specs / f"{original}.yaml"
    for number in range(count - 2):
        name = f"copy-{number}"
        shutil.copytree(world.home.sandbox(original).path, world.home.sandbox(name).path, symlinks=True)
        shutil.copyfile(spec, world.specs / f"{name}.yaml")
    for path in world.specs.iterdir():
        path.write_text(path.read_text().replace("running", "stopped"))
    figures.add(table.RESYNC, count, ours.name, _cpu(ours, figures.effort.resync) * RESYNC)


def _cpu(ours: Ours, seconds: float) -> float:
    """Milliseconds of CPU a second that the controller takes."""
    start_controller(ours.world, liveness=NEVER, resync=RESYNC)
    names = [path.stem for path in ours.world.specs.iterdir()]
    ours.until(lambda each: each["reason"] == "Stopped", names)
    ours.stage.starts.listen_for(CALM)
    before = machine.cpu(ours.supervisor())
    ours.stage.starts.listen_for(seconds)
    used = machine.cpu(ours.supervisor()) - before
    ours.world.stop()
    return 1000 * used / seconds


# -- readiness ---------------------------------------------------------------------------------------------------------


def opencode(cache: Path) -> Path:
    """The folder of the real OpenCode, as the product provides it."""
    environment = {**os.environ, settings_module.HOME_VARIABLE: str(cache / "opencode")}
    toolchains = Toolchains(settings_module.load(environment=environment))
    folder = toolchains.folder(OPENCODE, OPENCODE.default_version)
    if not folder.exists():
        asyncio.run(toolchains.provide(OPENCODE, OPENCODE.default_version))
    return folder


def ready(root: Path, program: Path, ports: range, figures: Figures) -> None:
    """Start the real OpenCode again and again; asked from outside by somebody who has the password."""
    with a_world(root, (ports[:1], ports[1:2])) as world:
        world.home.toolchains.mkdir(parents=True)
        world.home.toolchains.joinpath(program.name).symlink_to(program)
        world.start("--quiet")
        _want(world, "running")
        world.ready("app")
        for _ in range(figures.effort.readies):
            _want(world, "stopped")
            world.wait("app", lambda status: status["reason"] == "Stopped")
            _want(world, "running")
            answered = _first_true_answer(world, ports[0])
            figures.add(table.READY, 1, "ours", 1000 * (_published_ready(world) - answered))


def _want(world: World, state: str) -> None:
    world.write("app", f"state: {state}\ngit: {{url: {world.origin}}}\nconfinement: none\n")


def _first_true_answer(world: World, port: int) -> float:
    """Wall clock time of it: first the cheap call until the server is up, then the one that loads the project."""
    password = read_env(world.home.sandbox("app").env_file)["OPENCODE_SERVER_PASSWORD"]
    pair = base64.b64encode(f"{OPENCODE.user}:{password}".encode()).decode()
    deadline, again = time.monotonic() + machine.PATIENCE, threading.Event()
    while time.monotonic() < deadline:
        if _answers(port, OPENCODE.live_path, pair, limit=0.1) and _answers(port, OPENCODE.ready_path, pair, limit=30):
            return time.time()
        again.wait(0.005)
    raise AssertionError("OpenCode never answered")


def _answers(port: int, path: str, pair: str, limit: float) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit)
    try:
        connection.request("GET", path, headers={"authorization": f"Basic {pair}"})
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _published_ready(world: World) -> float:
    """Wall clock time at which the index with the Ready of it was written."""
    watch: dict[str, Any] = {
        "recursive": False,
        "debounce": 10,
        "step": 1,
        "rust_timeout": 1000,
        "yield_on_timeout": True,
    }
    for _ in watchfiles.watch(world.home.root, **watch):
        index = published.read(world.home)
        status = index.projects["app"]
        if status["ready"]["status"] and status["reason"] == "Running":
            return index.written
    raise AssertionError("the watch ended")
