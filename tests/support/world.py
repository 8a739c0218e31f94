"""A whole small world for end-to-end tests: a home, a specs folder, a git repository, and real controllers.

It starts and kills controllers, writes specs, waits for what they publish, and leaves no process behind; it knows
nothing of what a controller should do.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import watchfiles

from reconciler import settings_file
from reconciler.settings import Home
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIGHT_AGENT = Path(__file__).with_name("lightagent.py")
LIGHT_TOOL = Path(__file__).with_name("lighttool")
SLOW = "PYTHONASYNCIODEBUG"
"""Set by `pytest --slow-callbacks`: controllers then log each step that keeps their event loop busy for over 0.1 s."""
PATIENCE = 90.0
"""Seconds to wait for anything on a loaded machine of two cores."""

Status = dict[str, Any]
T = TypeVar("T")


class World:
    """One home and everything in it."""

    def __init__(self, root: Path, ports: tuple[range, range]) -> None:
        self.root = root
        self.home = Home(root / "home")
        self.specs = root / "specs"
        self.specs.mkdir(parents=True)
        (root / "user").mkdir()
        self.origin = make_repository(root / "origin")
        self.controllers: list[subprocess.Popen[bytes]] = []
        self.python = sys.executable
        """What the product runs with."""
        agents, bridges = ports
        self.environment = {
            **{key: value for key, value in os.environ.items() if key in {"LANG", "TMPDIR", SLOW}},
            "HOME": str(root / "user"),  # nobody's own logins, configuration and login shell
            # Our own Python first: a shim of a version manager is slow, and more processes than the one it becomes.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OPENCODE_MANAGER_HOME": str(self.home.root),
            "OPENCODE_MANAGER_SPECS": str(self.specs),
            "OPENCODE_MANAGER_PORT": "0",
            "OPENCODE_MANAGER_AGENT_PORTS": f"{agents[0]}-{agents[-1]}",
            "OPENCODE_MANAGER_BRIDGE_PORTS": f"{bridges[0]}-{bridges[-1]}",
            "ENVIRONMENT": "development",
        }

    # -- controllers -----------------------------------------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        """A command line of the program."""
        return [self.python, "-m", "reconciler", *arguments]

    def start(self, *arguments: str, out: int | None = None) -> subprocess.Popen[bytes]:
        """Start a controller that prints into a file, or to this descriptor."""
        with self.root.joinpath("controller.out").open("ab") as file:
            printed: Any = file if out is None else out
            controller = subprocess.Popen(
                self.command("run", *arguments),
                env=self.environment,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        self.controllers.append(controller)
        return controller

    def kill(self) -> None:
        """Kill every controller as hard as can be."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End every controller as a person would."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        for controller in self.controllers:
            if controller.poll() is None:
                controller.send_signal(number)
            controller.wait(PATIENCE)
        self.controllers.clear()

    def run(self, *arguments: str, code: int | None = 0, given: str = "") -> str:
        """Run one command to its end; what it printed."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        assert code is None or done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    # -- specs -----------------------------------------------------------------------------------------------------

    def write(self, name: str, text: str) -> None:
        """Write a spec as a person with an editor would."""
        self.specs.joinpath(f"{name}.yaml").write_text(text)

    def light(self, name: str, mode: str = "", **fields: str) -> None:
        """Write the spec and the secrets of a project whose agent and bridge are our light stand-ins."""
        sandbox = self.home.sandbox(name)
        if not sandbox.env_file.exists():
            sandbox.path.mkdir(parents=True, mode=0o700)
            sandbox.env_file.touch(mode=0o600)
            sandbox.env_file.write_text(
                f"OPENCODE_SERVER_PASSWORD=password-of-{name}-0123456789\n"
                f"MCP_TOOL_BEARER_TOKEN=token-of-{name}-0123456789\n"
                f"OPENCODE_BIN={LIGHT_AGENT}\nMCP_TOOL_DIR={LIGHT_TOOL}\n"
            )
        if not self.home.root.joinpath(settings_file.NAME).exists():
            self.confine("none")  # the stand-ins look for files that a test makes anywhere
        fields = {"git": f"{{url: {self.origin}}}", **fields}
        lines = [f"{key}: {value}" for key, value in fields.items()]
        if mode:
            lines.append(f"agent: {{env: {{LIGHT_AGENT: {mode}}}}}")
        self.write(name, "\n".join(lines) + "\n")

    def confine(self, method: str) -> None:
        """How the agents of this world are confined; light ones and their Python may lie below /tmp."""
        readable = [str(LIGHT_AGENT.parents[2]), sys.prefix, sys.base_prefix]
        self.home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps({"confinement": {"default": method, "read": readable}})  # which is YAML
        self.home.root.joinpath(settings_file.NAME).write_text(text)

    def provide(self, program: Path) -> None:
        """Let this home have the real OpenCode already."""
        version = program.parent.parent
        self.home.toolchains.mkdir(mode=0o700, parents=True)
        self.home.toolchains.joinpath(version.name).symlink_to(version)

    # -- what is published -----------------------------------------------------------------------------------------

    def status(self, name: str) -> Status:
        """What is published of a project now; empty when nothing is."""
        return dict(published.read(self.home).projects.get(name, {}))

    def wait(self, name: str, wanted: Callable[[Status], bool], patience: float = PATIENCE) -> Status:
        """Wait until what is published of a project is as wanted, and return it."""

        def look() -> Status | None:
            found = self.status(name)
            return found if found and wanted(found) else None

        found = self.until(look, f"waiting for {name}", patience)
        assert found
        return found

    def until(self, look: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
        """Wait until a look gives something true, and return it; looks again whenever a file of the home changes."""
        self.home.root.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + patience
        for _ in watchfiles.watch(
            self.home.root, recursive=False, rust_timeout=200, debounce=50, step=10, yield_on_timeout=True
        ):
            if found := look():
                return found
            if time.monotonic() > deadline or any(controller.poll() for controller in self.controllers):
                break
        raise AssertionError(f"in vain for {patience} s: {what}\n{self.story()}")

    def story(self) -> str:
        """What a person would look at when something went wrong."""
        out = self.root.joinpath("controller.out")
        printed = out.read_text()[-3000:] if out.exists() else ""
        state = self.home.state_file.read_text()[-6000:] if self.home.state_file.exists() else ""
        return f"{printed}\n{state}"

    def ready(self, name: str) -> Status:
        """Wait until a project is as wanted."""
        return self.wait(name, lambda status: bool(status["ready"]["status"]))

    # -- processes -------------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Every process whose environment or command line names this world's home, controllers excepted."""
        mine, ours = [], {controller.pid for controller in self.controllers} | {os.getpid()}
        needle = str(self.home.root)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid in ours or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if needle in " ".join(process.cmdline()) or needle in " ".join(process.environ().values()):
                    mine.append(process)
        return mine

    def lines(self) -> dict[int, str]:
        """The command lines of those processes, by pid."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                found[process.pid] = " ".join(process.cmdline())
        return found

    def slow_callbacks(self) -> list[str]:
        """Steps that kept a controller's event loop busy for over 0.1 s, as asyncio's debug mode has logged them."""
        if SLOW not in self.environment:
            return []
        logs = [*self.home.controller.glob("controller.log*"), self.root / "controller.out"]
        lines = [line for log in logs if log.is_file() for line in log.read_text(errors="replace").splitlines()]
        return [line for line in lines if "Executing <" in line and " took " in line]

    def close(self) -> None:
        """End everything."""
        self.kill()
        while left := self.processes():
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(process.pid)
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    select.select([pidfd], [], [], 15)
                    os.close(pidfd)


def make_repository(path: Path) -> Path:
    """A git repository with two commits on main, a tag and a branch."""
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    path.joinpath("README.md").write_text("# An application\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "First")
    git(path, "tag", "v1")
    path.joinpath("app.py").write_text("print('hello')\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "Second")
    git(path, "branch", "feature")
    return path


def git(where: Path, *arguments: str) -> str:
    """Run git as somebody with a name."""
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(where), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=where, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def read_env(path: Path) -> dict[str, str]:
    """The values of a `.env`, for a test that is a rightful client."""
    pairs = (line.partition("=") for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {key: value.strip("'\"") for key, _, value in pairs}


@contextlib.contextmanager
def a_world(root: Path, ports: tuple[range, range]) -> Iterator[World]:
    """A world that is left empty, and in which no controller's event loop was busy for long, when that is asked for."""
    world = World(root, ports)
    try:
        yield world
        assert not (slow := world.slow_callbacks()), "\n".join(slow)
    finally:
        world.close()
