"""Fixtures that more than one room needs: a world, and the real OpenCode."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from reconciler import settings as settings_module
from reconciler.agents.opencode.kind import OPENCODE
from reconciler.engines.local.toolchain import Toolchains
from reconciler.system.files import LockFile
from tests.support.world import SLOW, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.support.scoreboard"]

hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background: our children must know Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


CHOICE = "OCM_TEST_LANE"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The mode in which whatever blocks a controller's event loop is an error, and the lane of its own."""
    parser.addoption("--lane", action="store_true", help="run the tests marked as a lane of their own, and no others")
    parser.addoption(
        "--slow-callbacks",
        action="store_true",
        help="fail a test when a step of its controllers' event loop takes over 0.1 s (on an idle machine: "
        "time in which another process has the processor counts too)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let controllers run in asyncio's debug mode, which measures each step; choose the tests for all processes."""
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist does not know whether files were named
        everything = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
        os.environ[CHOICE] = "lane" if config.getoption("lane") else "all" if everything else "rest"
    if config.getoption("slow_callbacks"):
        os.environ[SLOW] = "1"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long ones first; and those of a group on one process, for only one can have what they share.

    The group "waits" shares nothing: its tests use no processor time, so that one after the other is best for the rest.
    """
    _choose_lane(config, items)
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
            raise pytest.UsageError("cannot keep groups together: this pytest-xdist does not fit this pytest")


def _choose_lane(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out those with a lane of their own, unless it is asked for, or files are named."""
    if (choice := os.environ[CHOICE]) == "all":
        return
    lane = choice == "lane"
    other = [item for item in items if (item.get_closest_marker("lane") is not None) is not lane]
    config.hook.pytest_deselected(items=other)
    items[:] = [item for item in items if (item.get_closest_marker("lane") is not None) is lane]


SHARE = 11
"""Ports of each range that one test process gets: eight shares below 4188 and 5188."""
SHARE_VARIABLE = "OCM_TEST_SHARE"
"""Set for a test process that another one waits for: it uses the ports of that one."""


@pytest.fixture(name="ports", scope="session")
def _ports() -> Iterator[tuple[range, range]]:
    """A share of both port ranges that no other test process on this machine has, whoever runs it."""
    if SHARE_VARIABLE in os.environ:
        first = int(os.environ[SHARE_VARIABLE])
        yield range(4100 + first, 4100 + first + SHARE), range(5100 + first, 5100 + first + SHARE)
        return
    for first in range(0, 8 * SHARE, SHARE):
        mark = socket.socket(socket.AF_UNIX)
        share = range(4100 + first, 4100 + first + SHARE), range(5100 + first, 5100 + first + SHARE)
        with contextlib.suppress(OSError), mark:  # an abstract name: free again however its holder ends
            mark.bind(f"\0opencode-manager-tests-{first}")
            _must_be_free(*share)  # or a controller of whoever runs these tests has some of them
            yield share
            return
    pytest.fail("cannot find a share of ports: eight test processes run on this machine already")


def _must_be_free(*ranges: range) -> None:
    """Raise OSError where somebody listens."""
    for port in (port for ports in ranges for port in ports):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


@pytest.fixture(name="world")
def _world(tmp_path: Path, ports: tuple[range, range]) -> Iterator[World]:
    """An empty home and specs folder, and at the end no process left."""
    with a_world(tmp_path, ports) as world:
        yield world


@contextlib.contextmanager
def once(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder for all test processes of this run, which only one of them fills at a time."""
    base = factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / name
    folder.mkdir(exist_ok=True)
    lock = LockFile(folder / "lock", wait=True)
    try:
        yield folder
    finally:
        lock.close()


@pytest.fixture(name="opencode_program", scope="session")
def _opencode_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real OpenCode, provided by the product itself."""
    with once(tmp_path_factory, "provided") as home:
        environment = {**os.environ, settings_module.HOME_VARIABLE: str(home)}
        toolchains = Toolchains(settings_module.load(environment=environment))
        return asyncio.run(toolchains.provide(OPENCODE, OPENCODE.default_version))


@pytest.fixture(name="clients", scope="session")
def _clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MCP clients that are not Python, installed."""
    with once(tmp_path_factory, "clients") as clients:
        if not clients.joinpath("story.mjs").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(Path(__file__).parent / "clients" / name, clients)
            install = ("npm", "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund")
            subprocess.run(install, cwd=clients, check=True, capture_output=True, timeout=120)
            shutil.copy(Path(__file__).parent / "clients" / "story.mjs", clients)
    return clients


@pytest.fixture(name="real_world")
def _real_world(world: World, opencode_program: Path) -> World:
    """A world whose home has the real OpenCode already."""
    world.provide(opencode_program)
    return world
