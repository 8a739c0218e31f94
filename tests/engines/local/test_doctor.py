"""The rows of `doctor`: each finds what is wrong with a machine, and says how to fix it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.core.findings import Finding, Level
from reconciler.engines.local.doctor import checks
from reconciler.engines.local.doctor.machine import Machine
from reconciler.settings import Home, Settings
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Check = Callable[[Machine], Iterable[Finding]]

ME = 1000
GIB = 1 << 30
V2 = "/sys/fs/cgroup/cgroup.controllers"
WALLS = checks._WALLS


class FakeMachine(Machine):
    """A machine that is as a test says, and well where it says nothing."""

    def __init__(self, root: Path = Path("/nowhere"), **facts: object) -> None:
        super().__init__(
            Settings(home=Home(root / "home"), specs=root / "specs", environment={"PATH": "/none", "HOME": str(root)})
        )
        self.facts = facts
        self.outputs = {
            ("git", "--version"): (0, "git version 2.39.5"),
            ("ssh", "-V"): (0, "OpenSSH_9.2p1 Debian-2, OpenSSL 3"),
            ("npm", "--version"): (0, "11.1.0"),
            ("node", "--version"): (0, "v20.1.0"),
            ("systemctl", "--user", "is-system-running"): (0, "running"),
            ("systemctl", "--user", "is-enabled", "opencode-manager.service"): (0, "enabled"),
            ("loginctl", "show-user", str(ME), "--property=Linger", "--value"): (0, "yes"),
            ("timedatectl", "show", "--property=NTPSynchronized", "--value"): (0, "yes"),
            WALLS: (0, ""),
            ("bwrap", "--version"): (0, "bubblewrap 0.8.0"),
        }
        self.texts = {
            "/proc/sys/fs/inotify/max_user_watches": "65536",
            "/proc/sys/fs/inotify/max_user_instances": "128",
            V2: "cpuset cpu io memory pids",
        }
        self.missing: set[str] = set()
        self.modes: dict[Path, tuple[int, int]] = {}

    def saying(self, code: int, text: str, *argv: str) -> FakeMachine:
        self.outputs[argv] = (code, text)
        return self

    def reading(self, path: str, text: str) -> FakeMachine:
        self.texts[path] = text
        return self

    def without(self, *programs: str) -> FakeMachine:
        self.missing.update(programs)
        return self

    def has(self, program: str) -> bool:
        return program not in self.missing

    def output(self, *argv: str) -> tuple[int, str]:
        return self.outputs.get(argv, (127, ""))

    def text(self, path: str) -> str:
        return self.texts.get(path, "")

    def space(self, path: Path) -> tuple[int, float]:  # noqa: ARG002
        return self.facts.get("space", (50 * GIB, 0.9))  # type: ignore[return-value]

    def open_files(self) -> int:
        return self.facts.get("open_files", 4096)  # type: ignore[return-value]

    def file_clock(self, folder: Path, now: float) -> float | None:  # noqa: ARG002
        return self.facts.get("file_clock", 0.0)  # type: ignore[return-value]

    def mode(self, path: Path) -> tuple[int, int] | None:
        return self.modes.get(path)

    def user(self) -> int:
        return ME

    def free_ports(self, low: int, high: int) -> int:  # noqa: ARG002
        return self.facts.get("free_ports", 99)  # type: ignore[return-value]

    def handed_over(self) -> Iterator[tuple[str, str, str]]:
        yield from self.facts.get("handed", [("app", "9 files", "")])  # type: ignore[misc]

    def strays(self) -> Iterator[tuple[int, str]]:
        yield from self.facts.get("strays", ())  # type: ignore[misc]


def levels(found: Iterable[Finding]) -> set[Level]:
    return {finding.level for finding in found}


def worst(check: Check, machine: Machine) -> Finding:
    """The one finding that is not good."""
    [found] = [finding for finding in check(machine) if finding.level is not Level.OK]
    return found


@pytest.mark.parametrize(
    "check", [check for check in checks.CHECKS if check is not checks.logins], ids=lambda check: check.__name__
)
def test_a_good_machine_has_nothing_to_fix(check: Check) -> None:
    """And says so in at least a line."""
    assert levels(check(FakeMachine())) == {Level.OK}


@pytest.mark.parametrize(
    ("check", "machine", "level", "message", "cure"),
    [
        (checks.git, FakeMachine().saying(127, "", "git", "--version"), Level.PROBLEM, "not on PATH", "install git"),
        (checks.git, FakeMachine().saying(0, "git version 2.17.1", "git", "--version"), Level.PROBLEM, "old", "2.25"),
        (checks.ssh, FakeMachine().without("ssh-keygen"), Level.PROBLEM, "ssh-keygen not on PATH", "OpenSSH"),
        (checks.npm, FakeMachine().without("npm"), Level.NOTE, "no agent's program can be provided", "Node.js"),
        (checks.programs, FakeMachine().without("npm"), Level.PROBLEM, "neither installed nor can npm", "install"),
        (
            checks.systemd,
            FakeMachine().saying(127, "", "systemctl", "--user", "is-system-running"),
            Level.NOTE,
            "it is not there",
            "init system",
        ),
        (
            checks.systemd,
            FakeMachine().saying(1, "offline", "systemctl", "--user", "is-system-running"),
            Level.NOTE,
            "no manager here",
            "init system",
        ),
        (
            checks.systemd,
            FakeMachine().saying(1, "not-found", "systemctl", "--user", "is-enabled", "opencode-manager.service"),
            Level.NOTE,
            "no service starts",
            "opencode-manager service install",
        ),
        (
            checks.systemd,
            FakeMachine().saying(0, "no", "loginctl", "show-user", str(ME), "--property=Linger", "--value"),
            Level.NOTE,
            "when you log in",
            "loginctl enable-linger",
        ),
        (checks.disk, FakeMachine(space=(GIB // 4, 0.5)), Level.PROBLEM, "0.2 GiB free", "make room"),
        (checks.disk, FakeMachine(space=(2 * GIB, 0.5)), Level.NOTE, "2.0 GiB free", "make room"),
        (checks.disk, FakeMachine(space=(90 * GIB, 0.001)), Level.PROBLEM, "0.1% of the files", "make room"),
        (
            checks.inotify,
            FakeMachine().reading("/proc/sys/fs/inotify/max_user_watches", "100"),
            Level.NOTE,
            "max_user_watches is 100",
            "sysctl fs.inotify.max_user_watches=65536",
        ),
        (
            checks.inotify,
            FakeMachine().reading("/proc/sys/fs/inotify/max_user_instances", ""),
            Level.NOTE,
            "cannot be read",
            "within 30 s",
        ),
        (checks.open_files, FakeMachine(open_files=256), Level.PROBLEM, "may open 256", "ulimit -n"),
        (checks.clock, FakeMachine(file_clock=None), Level.PROBLEM, "nothing can be written", "write there"),
        (checks.clock, FakeMachine(file_clock=-30.0), Level.PROBLEM, "-30 s off", "synchronize"),
        (
            checks.clock,
            FakeMachine().saying(0, "no", "timedatectl", "show", "--property=NTPSynchronized", "--value"),
            Level.NOTE,
            "not synchronized",
            "set-ntp",
        ),
        (
            checks.world,
            FakeMachine(handed=[("app", "9 files", "no ~/.npmrc")]),
            Level.NOTE,
            "~/.npmrc",
            "manager env app",
        ),
        (checks.strays, FakeMachine(strays=[(12, "app")]), Level.PROBLEM, "process 12 of app", "kill 12"),
        (checks.logins, FakeMachine(), Level.NOTE, "no provider", "opencode auth login"),
        (checks.confinement, FakeMachine().saying(127, "", *WALLS), Level.NOTE, "not on PATH", "install bubblewrap"),
        (checks.confinement, FakeMachine().saying(1, "no permission", *WALLS), Level.NOTE, "no permission", "userns"),
        (checks.limits, FakeMachine().reading(V2, ""), Level.NOTE, "cgroup v1", "cgroup v2"),
        (checks.limits, FakeMachine().reading(V2, "cpu io pids"), Level.NOTE, "without memory", "delegate"),
    ],
)
def test_what_is_wrong_is_found_with_its_fix(
    check: Check, machine: Machine, level: Level, message: str, cure: str
) -> None:
    """A clause each."""
    found = worst(check, machine)

    assert found.level is level
    assert message in found.message
    assert cure in found.cure


def test_too_few_ports_name_the_variable_that_moves_their_range() -> None:
    """Both ranges are judged."""
    found = tuple(checks.ports(FakeMachine(free_ports=0)))

    assert levels(found) == {Level.PROBLEM}
    assert levels(checks.ports(FakeMachine(free_ports=2))) == {Level.NOTE}
    assert [finding.cure.split()[1] for finding in found] == [
        "OPENCODE_MANAGER_AGENT_PORTS",
        "OPENCODE_MANAGER_BRIDGE_PORTS",
    ]


def test_what_others_may_read_or_own_is_named_with_the_command_that_fixes_it(tmp_path: Path) -> None:
    """A secret is for nobody else's eyes; a folder for nobody else's hands."""
    machine = FakeMachine(tmp_path)
    sandbox = machine.home.sandbox("app")
    sandbox.path.mkdir(parents=True)
    machine.modes = {sandbox.env_file: (0o640, ME), sandbox.path: (0o770, ME), machine.home.root: (0o700, ME + 1)}

    found = {finding.message: finding.cure for finding in checks.permissions(machine)}

    assert found == {
        f"others may read {sandbox.env_file}": f"chmod go-rwx {sandbox.env_file}",
        f"others may write to {sandbox.path}": f"chmod go-w {sandbox.path}",
        f"{machine.home.root} belongs to another user": f"chown {ME} {machine.home.root}, as root",
    }


def test_a_key_that_is_not_private_or_not_whole_is_named(tmp_path: Path) -> None:
    """With the command."""
    machine = FakeMachine(tmp_path)
    machine.home.keys.mkdir(parents=True)
    key = machine.home.deploy_key("app")
    key.touch()
    machine.modes = {key: (0o644, ME)}

    cures = [finding.cure for finding in checks.keys(machine) if finding.level is Level.PROBLEM]

    assert cures == [f"chmod 600 {key}", f"ssh-keygen -y -f {key} > {key}.pub"]


def test_a_process_with_our_mark_and_no_keeper_is_found_on_the_real_machine(tmp_path: Path) -> None:
    """Whatever its name is; one of another home is not ours."""
    home = Home(tmp_path / "home")
    machine = Machine(Settings(home=home, specs=tmp_path, environment={}))
    for root, found in ((home.sandboxes / "app" / "home", True), (tmp_path / "other" / "app", False)):
        environment = {"OCM_SANDBOX": "app:0123", "HOME": str(root)}
        with subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE) as stray:
            assert ((stray.pid, "app") in list(machine.strays())) is found
            stray.kill()


def test_every_row_runs_on_the_real_machine(tmp_path: Path) -> None:
    """Whatever it finds: each row has said something, and a fix for whatever is not good."""
    machine = Machine(Settings(home=Home(tmp_path / "home"), specs=tmp_path, environment={"PATH": "/usr/bin:/bin"}))

    found = checks.findings(machine)

    assert len(found) >= len(checks.CHECKS)
    assert all(finding.cure for finding in found if finding.level is not Level.OK)
    assert not (tmp_path / "home").exists()


def test_what_running_agents_were_given_is_as_published(tmp_path: Path) -> None:
    """A project that does not run is none of them."""
    machine = Machine(Settings(home=Home(tmp_path), specs=tmp_path, environment={}))
    lacking = {"handed_over": "9 files", "warnings": ["another", "the agent does not get ~/.npmrc: why"]}
    identity = published.ControllerInfo(pid=1, specs="", http_port=1, started=0.0)
    published.Writer(machine.home).write(identity, {"b": lacking, "a": {"handed_over": "1 file"}, "c": {}})

    assert list(machine.handed_over()) == [
        ("a", "1 file", ""),
        ("b", "9 files", "the agent does not get ~/.npmrc: why"),
    ]
