"""OpenCode Manager as a contender: light services instead of OpenCode and of the bridge, everything else is real.

A project has two services: the agent, and the bridge, which is started when the agent has proved itself ready. So N
services are N/2 projects (for N = 1 one project, of which the agent counts), each service with its keeper. The agent is
the light service by OPENCODE_BIN in the sandbox's `.env`; the bridge is it by MCP_TOOL_DIR, whose `node` is the first
on PATH. Clones are made once before anything is measured: the others have none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
import watchfiles
from anyio.from_thread import start_blocking_portal
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from reconciler import settings as settings_module
from reconciler.api import client
from reconciler.state import published
from tests.bench import machine
from tests.bench.contender import Asked, Contender, Managed
from tests.bench.machine import Service
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.bench.contender import Stage

NEVER = 1e9
"""Seconds between two health probes where there must be none."""


class Ours(Contender):
    """Specs in a folder, a controller, a keeper a service."""

    name = "ours"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        ports = sorted(service.port for service in (*stage.services, stage.extra))
        half = ports[0] + (ports[-1] + 1 - ports[0]) // 2 + 1
        self.world = World(stage.root / "world", (range(ports[0], half), range(half, 2 * half - ports[0])))
        programs = stage.root / "bin"
        programs.mkdir()
        programs.joinpath("node").symlink_to(stage.light)
        stage.root.joinpath("tool", "dist").mkdir(parents=True)
        stage.root.joinpath("tool", "dist", "index-http.js").touch()
        self.world.python = str(stage.installed.ours)
        self.world.confine("none")  # as the others confine nothing; what confinement costs is in RESULTS.md
        self.environment = self.world.environment
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"
        self.settings = settings_module.load(environment=self.environment)
        self.projects = [service.name for service in stage.services[::2]]
        self._made = self._spawned = time.time()
        self._texts = 0

    # -- specs ---------------------------------------------------------------------------------------------------------

    def _write(self, name: str, state: str) -> None:
        variables = f"{{LIGHT_STARTS: {self.stage.starts.fifo}}}"
        # Never a text whose digest one of our tools has recorded before: that would not have to settle.
        self._texts += 1
        text = f"state: {state}\ngit: {{url: {self.world.origin}}}\nagent: {{env: {variables}}}\n# {self._texts}\n"
        text += "confinement: none\n"  # as those beside it
        self.world.write(name, text)

    def write_all(self, state: str) -> None:
        """Write every spec but the extra one, as a `git pull` would."""
        for name in self.projects:
            self._write(name, state)

    def _sandbox(self, name: str) -> None:
        sandbox = self.world.home.sandbox(name)
        sandbox.run.mkdir(parents=True, mode=0o700)
        sandbox.run.joinpath("starts").symlink_to(self.stage.starts.fifo)  # the bridge's HOME
        sandbox.env_file.touch(mode=0o600)
        sandbox.env_file.write_text(
            f"OPENCODE_SERVER_PASSWORD=password-of-{name}-0123456789\nMCP_TOOL_BEARER_TOKEN=token-of-{name}-0123456789\n"
            f"OPENCODE_BIN={self.stage.light}\nMCP_TOOL_DIR={self.stage.root / 'tool'}\n"
        )

    # -- from nothing to nothing ---------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Let every sandbox be made and every service run once."""
        for name in (*self.projects, self.stage.extra.name):
            self._sandbox(name)
        self.write_all("running")
        self._write(self.stage.extra.name, "running")
        self.start()
        self.until(lambda each: each["reason"] == "Running", (*self.projects, self.stage.extra.name))
        self._learn_ports()
        self.remove()
        self.stop_all()
        self.end()

    def _learn_ports(self) -> None:
        """Services are known by their ports, which ours picks itself and keeps."""
        projects = published.read(self.world.home).projects
        kept = [
            Service(f"{name} {service}", projects[name][service]["port"])
            for name in self.projects
            for service in ("agent", "bridge")
        ]
        extra = Service(self.stage.extra.name, projects[self.stage.extra.name]["agent"]["port"])
        self.stage = replace(self.stage, services=tuple(kept[: len(self.stage.services)]), extra=extra)

    def start(self) -> None:
        self._spawned = time.time()  # psutil tells it to the second only
        self.world.start("--quiet")

    def rest(self) -> None:
        self.until(lambda each: each["reason"] == "Running", self.projects)

    def until(self, wanted: Callable[[dict[str, Any]], bool], names: Any) -> None:
        """Wait until this controller says so of all these projects, and serves MCP."""
        pid = self.world.controllers[0].pid

        def look() -> bool:
            index = published.read(self.world.home)
            mine = index.running and index.controller and index.controller.pid == pid and index.controller.http_port
            found = [index.projects.get(name) for name in names]
            return bool(mine) and all(each and each["ready"]["status"] and wanted(dict(each)) for each in found)

        self.world.until(look, "waiting for all projects")

    def stop_all(self) -> None:
        """By hand: one command of a shell changes all files."""
        self.write_all("stopped")

    def stop_all_by_tool(self) -> None:
        """The same through our own tool, one call after the other."""
        for name in self.projects:
            client.stop(self.settings, name)

    def end(self) -> None:
        self.until(lambda each: each["reason"] == "Stopped", self.projects)
        self.world.stop()
        self.write_all("running")

    # -- one service ---------------------------------------------------------------------------------------------------

    def add_by_hand(self) -> None:
        self._write(self.stage.extra.name, "running")

    def add_by_tool(self) -> None:
        client.start(self.settings, self.stage.extra.name)

    def remove(self) -> None:
        self.until(lambda each: each["reason"] == "Running", [self.stage.extra.name])
        client.stop(self.settings, self.stage.extra.name)
        self.until(lambda each: each["reason"] == "Stopped", [self.stage.extra.name])

    # -- the supervisor ------------------------------------------------------------------------------------------------

    def status_command(self) -> list[str]:
        return [self.stage.installed.script("opencode-manager"), "status"]

    def ask(self, times: int) -> Asked:
        index = published.read(self.world.home)
        took = asyncio.run(self._ask(times))
        running = {
            f"{name} {service}": status[service]["pid"]
            for name, status in index.projects.items()
            for service in ("agent", "bridge")
            if status[service]["pid"]
        }
        return Asked(milliseconds=took, pids=running)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        index = published.read(self.world.home)
        port = index.controller.http_port if index.controller else 0
        token = self.world.home.controller.joinpath("token").read_text().strip()
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=machine.PATIENCE) as http,
            Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)) as mcp,
        ):
            yield mcp

    @contextlib.contextmanager
    def chat(self) -> Iterator[Callable[[], None]]:
        """Stay connected by MCP; what is yielded starts the extra project by the tool in the controller's process."""
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._connected()) as mcp:
            project = {"project_name": self.stage.extra.name}
            start = {**project, "git_url": str(self.world.origin), "wait_seconds": 0}
            portal.call(mcp.call_tool, "opencode_status", project)  # the first call loads the library

            def call() -> None:
                answer = portal.call(mcp.call_tool, "opencode_start", start)
                assert not answer.is_error, answer

            yield call

    async def _ask(self, times: int) -> list[float]:
        took = []
        async with self._connected() as mcp:
            for _ in range(times + 1):
                began = time.perf_counter()
                await mcp.call_tool("opencode_status", {"project_name": self.projects[0]})
                took.append(1000 * (time.perf_counter() - began))
        return took[1:]

    def roots(self) -> list[int]:
        """The controller, the keepers, and a process of ours that keepers were forked from, should there be one."""
        keepers = self._keepers()
        found = {*keepers, *(controller.pid for controller in self.world.controllers)}
        for keeper in keepers:
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(keeper).parent()
                if parent and parent.pid not in {1, os.getpid()} and parent.create_time() > self._made:
                    found.add(parent.pid)
        return sorted(found)

    def _keepers(self) -> list[int]:
        records = self.world.home.sandboxes.glob("*/run/*.run.json")
        pids = [json.loads(record.read_text())["keeper"]["pid"] for record in records]
        return [pid for pid in pids if machine.lives(pid)]

    def supervisor(self) -> set[int]:
        return {controller.pid for controller in self.world.controllers}

    def exchange_controller(self, *, probes: bool) -> None:
        """Another controller, which probes or never does; the services go on."""
        self.world.stop()
        if probes:
            self.start()
        else:
            start_controller(self.world, liveness=NEVER)
        self.rest()

    def kill_supervisor(self) -> None:
        self.world.kill()

    def managed_after(self) -> Managed:
        """Until the index says of each project that it runs, as this controller saw it."""
        (controller,) = self.world.controllers
        watch: dict[str, Any] = {
            "recursive": False,
            "debounce": 10,
            "step": 1,
            "rust_timeout": 1000,
            "yield_on_timeout": True,
        }
        for _ in watchfiles.watch(self.world.home.root, **watch):
            index = published.read(self.world.home)
            if not index.controller or index.controller.pid != controller.pid:
                continue
            started = index.controller.started
            found = [index.projects.get(name) for name in self.projects]
            if all(each and each["ready"]["status"] and each["observed"] >= started for each in found):
                written = index.written
                return Managed(after_exec=1000 * (written - self._spawned), after_start_up=1000 * (written - started))
        raise AssertionError("the watch ended")


def start_controller(world: World, **settings: float) -> None:
    """A controller with settings that have no variable."""
    command = [world.python, "-m", "tests.bench.controller", json.dumps(settings)]
    with world.root.joinpath("controller.out").open("ab") as out:
        world.controllers.append(
            subprocess.Popen(command, cwd=machine.HERE.parents[1], env=world.environment, stdout=out, stderr=out)
        )
