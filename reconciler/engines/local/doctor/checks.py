"""The checks of `doctor`: a row for each in `CHECKS`."""

from __future__ import annotations

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from reconciler import agents
from reconciler.core import kinds
from reconciler.core.findings import Finding, good, note, problem
from reconciler.engines.local.confinement import walls
from reconciler.settings import AGENT_PORTS_VARIABLE, BRIDGE_PORTS_VARIABLE, HOME_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from reconciler.engines.local.doctor.machine import Machine

    Check = Callable[[Machine], Iterable[Finding]]

_GIB: Final = 1 << 30
_LITTLE: Final = 5 * _GIB
"""Bytes: a clone and an agent's program need some hundred megabytes each."""
_TOO_LITTLE: Final = _GIB // 2
_WATCHES: Final = 8192
"""Of inotify: what kernels before 5.11 gave; editors on the same machine use them up."""
_INSTANCES: Final = 64
_FILES: Final = 1024
_SKEW: Final = 2.0
"""Seconds."""
_FEW: Final = 3
"""Ports for new projects."""
_OLDEST_GIT: Final = (2, 25)
"""As of Ubuntu 20.04."""
_WALLS: Final = (*walls.command(walls.Walls(bubblewrap="bwrap", folder="/", places={})), "true")
"""As an agent is confined."""


def findings(machine: Machine) -> tuple[Finding, ...]:
    """Return what each check finds, in the order of the rows. They wait for programs, so they run at once."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        return tuple(finding for found in pool.map(lambda check: tuple(check(machine)), CHECKS) for finding in found)


# -- tools -------------------------------------------------------------------------------------------------------------


def git(machine: Machine) -> Iterator[Finding]:
    """Check that git is there, and not too old."""
    code, line = machine.output("git", "--version")
    found = re.search(r"(\d+)\.(\d+)[\d.]*", line)
    if code or not found:
        yield problem("git", "it is not on PATH", "install git")
    elif (int(found[1]), int(found[2])) < _OLDEST_GIT:
        yield problem("git", f"version {found[0]} is too old", "install git 2.25 or newer")
    else:
        yield good("git", f"version {found[0]}")


def ssh(machine: Machine) -> Iterator[Finding]:
    """Check that ssh and ssh-keygen are there."""
    missing = [program for program in ("ssh", "ssh-keygen") if not machine.has(program)]
    if missing:
        yield problem("ssh", f"{' and '.join(missing)} not on PATH", "install the OpenSSH client")
    else:
        yield good("ssh", machine.output("ssh", "-V")[1].partition(",")[0])


def npm(machine: Machine) -> Iterator[Finding]:
    """Check that agents' programs can be provided."""
    if not machine.has("npm"):
        yield note("npm", "it is not on PATH: no agent's program can be provided", "install Node.js with npm")
        return
    (_, node), (_, npm_version) = machine.output("node", "--version"), machine.output("npm", "--version")
    yield good("npm", f"version {npm_version}, node {node.removeprefix('v')}")


def programs(machine: Machine) -> Iterator[Finding]:
    """Check that a program of the usual kind of agent is there, or can be."""
    package = agents.driver(kinds.DEFAULT).program
    path = next((found for name in package.programs if (found := shutil.which(name, path=_path(machine)))), "")
    provided = machine.home.toolchains / f"{package.name}-{package.default_version}" / "bin" / package.programs[0]
    if path:
        yield good("agent", f"{package.name} is installed: {path}")
    elif provided.exists():
        yield good("agent", f"{package.name} {package.default_version} is provided")
    elif machine.has("npm"):
        yield good("agent", f"{package.name} {package.default_version} will be provided ({package.download})")
    else:
        yield problem("agent", f"{package.name} is neither installed nor can npm fetch it", f"install {package.name}")


def systemd(machine: Machine) -> Iterator[Finding]:
    """Check whether the controller can be a service of the user."""
    code, state = machine.output("systemctl", "--user", "is-system-running")
    if state not in {"running", "degraded", "starting"}:
        why = "it is not there" if code == 127 else "this user has no manager here"
        yield note("systemd", f"{why}: nobody starts the controller after a reboot", "let another init system do it")
        return
    if machine.output("systemctl", "--user", "is-enabled", "opencode-manager.service")[1] != "enabled":
        yield note("systemd", "no service starts the controller", "opencode-manager service install")
        return
    linger = machine.output("loginctl", "show-user", str(machine.user()), "--property=Linger", "--value")[1]
    if linger == "yes":
        yield good("systemd", "the service starts at boot")
    else:
        yield note("systemd", "the service starts when you log in, and ends with that", "loginctl enable-linger")


# -- the machine -------------------------------------------------------------------------------------------------------


def ports(machine: Machine) -> Iterator[Finding]:
    """Check that there are free ports in both ranges."""
    variables = {"agent": AGENT_PORTS_VARIABLE, "bridge": BRIDGE_PORTS_VARIABLE}
    for service, (low, high) in machine.settings.ports.items():
        free = machine.free_ports(low, high)
        text = f"{free} of {high - low + 1} {service} ports are free ({low}-{high})"
        cure = f"set {variables[service]} to a larger range"
        if not free:
            yield problem("ports", text, cure)
        elif free < _FEW:
            yield note("ports", text, cure)
        else:
            yield good("ports", text)


def disk(machine: Machine) -> Iterator[Finding]:
    """Check that there is room below the home."""
    free, files = machine.space(machine.home.root)
    text = f"{free / _GIB:.1f} GiB free below {machine.home.root}"
    cure = f"make room there, or move {HOME_VARIABLE}"
    if free < _TOO_LITTLE:
        yield problem("disk", text, cure)
    elif files < 0.01:
        yield problem("disk", f"{files:.1%} of the files are free below {machine.home.root}", cure)
    elif free < _LITTLE:
        yield note("disk", text, cure)
    else:
        yield good("disk", text)


def inotify(machine: Machine) -> Iterator[Finding]:
    """Check the limits of the kernel for watching files."""
    for what, least in (("max_user_watches", _WATCHES), ("max_user_instances", _INSTANCES)):
        text = machine.text(f"/proc/sys/fs/inotify/{what}")
        if not text.isdecimal():
            yield note("inotify", f"{what} cannot be read", "nothing: changes are found within 30 s without it")
        elif int(text) < least:
            yield note("inotify", f"{what} is {text}", f"sysctl fs.inotify.{what}={least * 8}")
        else:
            yield good("inotify", f"{what} is {text}")


def open_files(machine: Machine) -> Iterator[Finding]:
    """Check how many files the controller may open."""
    most = machine.open_files()
    if most != -1 and most < _FILES:
        yield problem("files", f"a process may open {most}", f"ulimit -n {_FILES * 4}")
    else:
        yield good("files", f"a process may open {most}" if most != -1 else "a process may open any number")


def clock(machine: Machine) -> Iterator[Finding]:
    """Check that the home's file system has the time of this machine, and this machine that of the world."""
    folder = next(each for each in (machine.home.root, *machine.home.root.parents) if each.is_dir())
    ahead = machine.file_clock(folder, time.time())
    synchronized = machine.output("timedatectl", "show", "--property=NTPSynchronized", "--value")[1]
    if ahead is None:
        yield problem("clock", f"nothing can be written in {folder}", "let this user write there")
    elif abs(ahead) > _SKEW:
        yield problem("clock", f"files below {folder} are {ahead:+.0f} s off", "synchronize the clock of that server")
    elif synchronized == "no":
        yield note("clock", "it is not synchronized", "timedatectl set-ntp true")
    else:
        yield good("clock", "files have the time of this machine")


# -- what is ours ------------------------------------------------------------------------------------------------------


def strays(machine: Machine) -> Iterator[Finding]:
    """Check for processes of ours that nobody supervises."""
    found = list(machine.strays())
    for pid, name in found:
        known = machine.home.sandbox(name).path.exists()
        cure = "opencode-manager run, which takes it over or ends it" if known else f"kill {pid}"
        yield problem("orphans", f"process {pid} of {name} runs without a keeper", cure)
    if not found:
        yield good("orphans", "every process of ours has its keeper")


def keys(machine: Machine) -> Iterator[Finding]:
    """Check the deploy keys: private, and whole."""
    found = sorted(machine.home.keys.glob("*-deploy"))
    for path in found:
        mode = machine.mode(path)
        if mode and mode[0] & 0o077:
            yield problem("keys", f"others may read {path}", f"chmod 600 {path}")
        if not path.with_name(f"{path.name}.pub").exists():
            yield problem("keys", f"{path} has no public half", f"ssh-keygen -y -f {path} > {path}.pub")
    yield good("keys", f"{len(found)} deploy key{'' if len(found) == 1 else 's'} in {machine.home.keys}")


def permissions(machine: Machine) -> Iterator[Finding]:
    """Check that what is private is so, and that everything belongs to this user."""
    wrong = [finding for path in _private(machine) for finding in _judged(machine, path)]
    yield from wrong
    if not wrong:
        yield good("permissions", f"secrets below {machine.home.root} are readable for this user only")


def _private(machine: Machine) -> Iterator[Path]:
    home = machine.home
    yield from (home.root, home.controller, home.sandboxes, home.controller / "token")
    for sandbox in sorted(home.sandboxes.glob("*")):
        yield from (sandbox, sandbox / ".env")


def _judged(machine: Machine, path: Path) -> Iterator[Finding]:
    found, me = machine.mode(path), machine.user()
    if found is None:
        return
    mode, owner = found
    if owner != me:
        yield problem("permissions", f"{path} belongs to another user", f"chown {me} {path}, as root")
    secret = path.name in {".env", "token"}
    if mode & (0o077 if secret else 0o022):
        what = "read" if secret else "write to"
        yield problem("permissions", f"others may {what} {path}", f"chmod go-{'rwx' if secret else 'w'} {path}")


def logins(machine: Machine) -> Iterator[Finding]:
    """Check whether agents have a model provider."""
    driver = agents.driver(kinds.DEFAULT)
    found = driver.logins(machine.environment)
    if found:
        yield good("logins", f"agents use the providers {', '.join(found)}")
    else:
        yield note("logins", "no provider of models is logged in to", driver.login)


def world(machine: Machine) -> Iterator[Finding]:
    """Check whether the agents that run lack something of the user's."""
    running = tuple(machine.handed_over())
    for name, given, lacks in running:
        if lacks:
            yield note("world", f"{name}: {lacks}", f"see all of it with: opencode-manager env {name}")
        else:
            yield good("world", f"{name} has {given}")
    if not running:
        yield good("world", "no agent runs that lacks anything")


# -- walls -------------------------------------------------------------------------------------------------------------


def confinement(machine: Machine) -> Iterator[Finding]:
    """Check whether agents can be confined."""
    code, line = machine.output(*_WALLS)
    if code == 0:
        yield good("confinement", f"bubblewrap works ({machine.output('bwrap', '--version')[1]})")
    elif code == 127:
        yield note("confinement", "bubblewrap is not on PATH: agents may read what you may", "install bubblewrap")
    else:
        cure = "allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        if machine.text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") != "1":
            cure = "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000"
        yield note("confinement", f"bubblewrap does not work here: {line}", cure)


def limits(machine: Machine) -> Iterator[Finding]:
    """Check whether memory, processors and tasks of agents can be limited."""
    controllers = machine.text("/sys/fs/cgroup/cgroup.controllers").split()
    if not controllers:
        yield note("limits", "cgroup v1: limits of a user's agents cannot be enforced", "boot with cgroup v2")
        return
    missing = [name for name in ("memory", "cpu", "pids") if name not in controllers]
    if missing:
        yield note("limits", f"cgroup v2 without {', '.join(missing)}", "delegate them: systemctl edit user@.service")
    else:
        yield good("limits", "cgroup v2 with memory, cpu and pids")


def _path(machine: Machine) -> str | None:
    return machine.environment.get("PATH")


CHECKS: Final[tuple[Check, ...]] = (
    *(git, ssh, npm, programs, systemd),
    *(ports, disk, inotify, open_files, clock),
    *(strays, keys, permissions, logins, world),
    *(confinement, limits),
)
"""In the order in which they are shown."""
