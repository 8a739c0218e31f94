"""Limits by a real systemd, as root: each service in a scope of its own, and the limits at the slice of its project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.limits import groups, manager
from tests.support import systemd
from tests.support.world import World, a_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.systemd import Host

pytestmark = pytest.mark.xdist_group("service")
UNIT = "ocm-test-controller"


def write(world: World, leak: Path, memory: str, state: str = "running") -> None:
    limits = {"memory": memory, "tasks": 100, "cpus": 1.5, "required": True}
    world.light("app", f"leak={leak}", limits=json.dumps(limits), state=state)
    env_file = world.home.sandbox("app").env_file
    lines = env_file.read_text().splitlines(keepends=True)
    env_file.write_text("".join(line for line in lines if "MCP_TOOL_DIR" not in line))  # it needs node


@pytest.fixture(name="installed")
def _installed(tmp_path: Path, ports: tuple[range, range]) -> Iterator[tuple[World, Host]]:
    """A host whose root runs a controller as a service."""
    with a_world(tmp_path / "world", ports) as world:
        write(world, world.root / "leak", "900MiB")
        (tmp_path / "host").mkdir()
        with systemd.host(tmp_path / "host", tmp_path / "world") as host:
            settings = [f"--setenv={name}={value}" for name, value in world.environment.items()]
            host.root("systemd-run", f"--unit={UNIT}", *settings, *world.command("run"))
            yield world, host


def test_a_leak_is_contained_in_its_slice(installed: tuple[World, Host]) -> None:
    """Changed without a restart, reported with the limit, and the bridge lives; a stop leaves no unit."""
    world, host = installed
    slice_name = manager.slice_name(groups.name_of(world.home.root, "app"))
    before = world.ready("app")
    assert {limit["enforced_by"] for limit in before["limits"]} == {"systemd"}
    assert before["limits"][0]["used"] > 1 << 20

    write(world, world.root / "leak", "300MiB")
    changed = world.wait("app", lambda status: status["ready"]["status"] and status["limits"][0]["value"] == 300 << 20)
    assert changed["agent"]["pid"] == before["agent"]["pid"]
    shown = host.root("systemctl", "show", slice_name, "-p", "MemoryMax", "-p", "TasksMax", "-p", "CPUQuotaPerSecUSec")
    assert set(shown.split()) == {f"MemoryMax={300 << 20}", "TasksMax=100", "CPUQuotaPerSecUSec=1.500000s"}

    world.root.joinpath("leak").touch()
    ended = world.wait("app", lambda status: status["agent"]["restarts"] == 1)
    assert "out of memory at its limit of 300MiB" in ended["agent"]["last_exit"]
    assert ended["bridge"]["pid"] == before["bridge"]["pid"]
    world.root.joinpath("leak").unlink()
    write(world, world.root / "leak", "300MiB", state="stopped")
    world.wait("app", lambda status: status["actual"] == "stopped")
    assert "ocm" not in host.root(
        "systemctl", "list-units", "--all", "--plain", "--no-legend", "ocm*.slice", "ocm*.scope"
    )
    assert host.root("sh", "-c", "ls /run/systemd/system.control 2>/dev/null || true").strip() == ""
