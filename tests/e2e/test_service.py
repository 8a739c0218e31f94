"""The service under a real systemd: what it does to agents when it is restarted, and after a reboot."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from reconciler.state import published
from tests.support import systemd
from tests.support.world import PATIENCE, World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.systemd import Host

pytestmark = pytest.mark.xdist_group("service")
NOT_SO = 2


@pytest.fixture(name="installed", scope="module")
def _installed(tmp_path_factory: pytest.TempPathFactory, ports: tuple[range, range]) -> Iterator[tuple[World, Host]]:
    """A host whose user has a project and has installed the service."""
    root = tmp_path_factory.mktemp("service")
    with a_world(root / "world", ports) as world:
        world.light("app")
        env_file = world.home.sandbox("app").env_file
        lines = env_file.read_text().splitlines(keepends=True)
        env_file.write_text("".join(line for line in lines if "MCP_TOOL_DIR" not in line))  # it needs node
        for path in (root, *root.rglob("*")):
            os.chown(path, systemd.UID, systemd.UID, follow_symlinks=False)
        (root / "host").mkdir()
        with systemd.host(root / "host", root / "world") as host:
            yield world, host


def ours(world: World, host: Host, *command: str, code: int | None = 0) -> str:
    """Run one of our commands as the host's user."""
    settings = {name: value for name, value in world.environment.items() if name.startswith("OPENCODE_MANAGER_")}
    assigned = [f"{name}={value}" for name, value in {**settings, "ENVIRONMENT": "development"}.items()]
    return host.run("env", *assigned, *world.command(*command), code=code)


def pid_of(world: World, host: Host) -> int:
    """The agent's pid there, once it is ready."""
    ours(world, host, "wait", "app", "--timeout", f"{PATIENCE:.0f}")
    return int(world.until(lambda: world.status("app")["agent"]["pid"], "the agent's pid"))


def started(host: Host) -> int:
    """The pid of the service's controller."""
    return int(host.run("systemctl", "--user", "show", "opencode-manager", "--property=MainPID", "--value"))


def test_the_service_is_installed_and_says_how_it_stands(installed: tuple[World, Host]) -> None:
    """A dry run writes nothing; another install changes nothing."""
    world, host = installed
    assert "service install" in ours(world, host, "service", "status", code=NOT_SO)
    assert "+KillMode=process" in ours(world, host, "service", "install", "--dry-run")
    assert not (world.root / ".config").exists()

    printed = ours(world, host, "service", "install")

    assert "The service is installed and runs" in printed
    assert "enable-linger" not in printed
    status = ours(world, host, "service", "status")
    assert "Starts:   at boot" in status
    assert "State:    active (running) since" in status
    controller = started(host)
    ours(world, host, "service", "install")
    assert started(host) == controller
    assert re.search(r"ok +systemd +the service starts at boot", ours(world, host, "doctor", code=None))


def test_a_restart_of_the_service_leaves_every_agent(installed: tuple[World, Host]) -> None:
    """The same pid, however it ends."""
    world, host = installed
    ours(world, host, "service", "install")
    agent, controller = pid_of(world, host), started(host)

    host.run("systemctl", "--user", "restart", "opencode-manager")
    assert started(host) != controller
    assert pid_of(world, host) == agent
    host.run("systemctl", "--user", "kill", "--signal=KILL", "opencode-manager")
    assert pid_of(world, host) == agent
    assert world.status("app")["agent"]["restarts"] == 0


def test_a_reboot_brings_all_back(installed: tuple[World, Host]) -> None:
    """Nobody logs in."""
    world, host = installed
    ours(world, host, "service", "install")
    pid_of(world, host)

    host.shut_down()
    assert world.processes() == []
    host.boot()
    world.until(lambda: published.read(world.home).running, "the controller, which nobody starts by hand")

    assert pid_of(world, host)
    assert world.status("app")["actual"] == "running"


def test_what_is_uninstalled_is_gone_and_agents_go_on(installed: tuple[World, Host]) -> None:
    """Until somebody stops them."""
    world, host = installed
    ours(world, host, "service", "install")
    agent = pid_of(world, host)

    assert "the agents keep running" in ours(world, host, "service", "uninstall")

    assert not list((world.root / ".config" / "systemd" / "user").rglob("opencode-manager.service"))
    host.run("test", "-d", f"/proc/{agent}")
    assert "There is no service." in ours(world, host, "service", "uninstall")
