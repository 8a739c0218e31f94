"""What is asked of systemd, and where it is used; a real one is asked in tests/e2e/test_limits_systemd.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import Phase
from reconciler.core.spec import Limits
from reconciler.engines.local.facts import LocalService
from reconciler.engines.local.keeper import identity
from reconciler.engines.local.limits import groups, limiting, manager, means, probe
from reconciler.engines.local.limits.means import Available, Ceilings, GroupPlace, Limit, Means
from reconciler.engines.local.processes import processes

if TYPE_CHECKING:
    from pathlib import Path

ALL = Ceilings(memory=2**30, cpus=1.5, tasks=100)
FALLS_BACK = GroupPlace(folder="/sys/fs/cgroup/unit", version=2)


def test_a_slice_is_in_no_other() -> None:
    """A dash in its name would put it below another one."""
    assert manager.slice_name("ocm-1a-blog-api") == r"ocm\x2d1a\x2dblog\x2dapi.slice"


@pytest.mark.parametrize(
    ("ceilings", "expected"),
    [
        (ALL, ("MemoryMax=1073741824", "MemorySwapMax=0", "TasksMax=100", "CPUQuota=150%")),
        (Ceilings(), ("MemoryMax=infinity", "MemorySwapMax=infinity", "TasksMax=infinity", "CPUQuota=")),
        (Ceilings(cpus=0.001), ("MemoryMax=infinity", "MemorySwapMax=infinity", "TasksMax=infinity", "CPUQuota=1%")),
    ],
)
def test_every_limit_is_written_each_time(ceilings: Ceilings, expected: tuple[str, ...]) -> None:
    """One that was removed too: what was set before is still there."""
    assert manager.properties(ceilings) == expected


def test_systemd_goes_before_groups_of_our_own() -> None:
    """What it does not limit nobody does: where it runs, groups are its own."""
    found = Available(manager={"memory": "/sys/fs/cgroup"}, groups=dict.fromkeys(("memory", "pids"), FALLS_BACK))

    assert means.choose(ALL, found) == {
        Limit.MEMORY: Means.MANAGER,
        Limit.CPUS: Means.NOTHING,
        Limit.TASKS: Means.WATCHDOG,
    }
    assert Means.MANAGER.hard


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("31 1 0:28 / {root} rw - cgroup2 cgroup2 rw\n", {"memory", "pids"}),
        ("31 1 0:28 / {root} rw - cgroup cgroup rw,cpu,cpuacct\n", {"cpu"}),
        ("31 1 0:28 /docker {root} rw - cgroup2 cgroup2 rw\n", set()),
        ("31 1 0:28 / {root}/gone rw - cgroup2 cgroup2 rw\n", set()),
    ],
)
def test_the_root_groups_are_where_they_are_mounted(tmp_path: Path, mounts: str, expected: set[str]) -> None:
    """Of root only: another user has another manager. Nothing is said of a part, or of what cannot be read."""
    tmp_path.joinpath("cgroup.controllers").write_text("io memory pids\n")
    tmp_path.joinpath("cgroup").write_text("0::/unit\n")
    tmp_path.joinpath("mountinfo").write_text(mounts.format(root=tmp_path))

    found = probe.find(tmp_path, runs_systemd=True).manager
    assert found == (dict.fromkeys(expected, str(tmp_path)) if os.geteuid() == 0 else {})
    assert probe.find(tmp_path, runs_systemd=False).manager == {}


def test_what_runs_in_a_slice_is_said_to_be_limited_by_systemd(tmp_path: Path) -> None:
    """It sets no limit of memory with swap in the older hierarchy: that it differs is no news."""
    group = tmp_path / "a.slice"
    group.mkdir()
    for file, text in {"cgroup.procs": "", "memory.limit_in_bytes": str(2**30), "memory.usage_in_bytes": "7"}.items():
        group.joinpath(file).write_text(text)
    group.joinpath("memory.memsw.limit_in_bytes").write_text("9223372036854771712")
    folders = (("memory", str(group / "a.scope")),)
    service = LocalService(phase=Phase.RUNNING, groups=folders, slice_name="a.slice")
    ours = LocalService(phase=Phase.RUNNING, groups=folders)

    facts = limiting.facts("blog", Limits(memory="1GiB"), [service])
    assert [(each.enforced_by, each.used, each.hard) for each in facts.shown] == [("systemd", 7, True)]
    assert not facts.outdated
    assert limiting.facts("blog", Limits(memory="2GiB"), [service]).outdated
    assert limiting.facts("blog", Limits(memory="1GiB"), [ours]).outdated
    assert groups.memory_limit(dict(folders)) == 2**30


def test_a_machine_without_its_programs_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Naming the program; to forget a slice there is no failure, and none while a process is left in it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for use in (lambda: manager.run_in("a.slice", "a.scope"), lambda: manager.limit("a.slice", ALL)):
        with pytest.raises(FileNotFoundError, match="it is not on PATH"):
            use()
    manager.forget("a.slice", {"memory": str(tmp_path / "a.slice" / "a.scope")})


def play_systemctl(folder: Path, code: int) -> Path:
    """A program that plays systemctl: it keeps its arguments, and ends as it is to."""
    folder.mkdir()
    said = folder / "said"
    program = folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {said}\necho "Failed to do it" >&2\nexit {code}\n')
    program.chmod(0o755)
    return said


@pytest.mark.parametrize(
    ("said", "policy"), [("systemd 252 (252.39)", False), ("systemd 257 (257.1)", True), ("what?", False), ("", False)]
)
def test_a_scope_outlives_a_killed_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, *, policy: bool
) -> None:
    """Newer ones would end all of it, unless asked not to; older ones know no such property."""
    program = tmp_path / "systemd-run"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    manager._version.cache_clear()

    arguments = manager.run_in("a.slice", "b.scope")

    assert arguments[:4] == (str(program), "--scope", "--quiet", "--collect")
    assert arguments[4:6] == ("--unit=b.scope", "--slice=a.slice")
    assert arguments[6:] == (("--property=OOMPolicy=continue", "--") if policy else ("--",))


@pytest.mark.parametrize("limits", [None, [], {"groups": 3}, {"groups": {"memory": 3}}, {"groups": {"cpu": "/a"}}])
def test_a_record_that_was_edited_has_no_groups(limits: object) -> None:
    """A keeper goes on all the same; runs of older versions have none either."""
    run = {} if limits is None else {"limits": limits}

    assert identity.memory_folder(run) == identity.own_group(run) == ""
    assert processes.groups_of(run).get("memory") is None
    assert processes.slice_of(run) == ""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/cg/memory/x/ocm-1-blog/agent", "/cg/memory/x/ocm-1-blog/agent/cgroup.procs"),
        (r"/cg/ocm\x2d1\x2dblog.slice/a.scope", r"/cg/ocm\x2d1\x2dblog.slice/a.scope/cgroup.procs"),
        ("/cg/memory", ""),
        ("/cg/user.slice/session.scope", ""),
    ],
)
def test_only_a_group_of_ours_says_who_belongs_to_a_run(folder: str, expected: str) -> None:
    """Whatever a record says: all that is in it may be ended."""
    assert identity.own_group({"limits": {"groups": {"memory": folder}}}) == expected


def test_a_refusal_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In systemd's own words."""
    said = play_systemctl(tmp_path / "bin", 1)
    monkeypatch.setenv("PATH", f"{said.parent}:/usr/bin:/bin")

    with pytest.raises(OSError, match="systemctl set-property: Failed to do it"):
        manager.limit("a.slice", Ceilings(tasks=9))
    assert said.read_text().startswith("--no-ask-password set-property --runtime a.slice MemoryMax=infinity")


@pytest.mark.parametrize(("processes", "calls"), [("", ["stop a.slice", "revert a.slice"]), ("12\n", [])])
def test_a_slice_is_ended_with_the_last_of_its_services(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, processes: str, calls: list[str]
) -> None:
    """Not while the other one is in it: that would end it too."""
    said = play_systemctl(tmp_path / "bin", 0)
    monkeypatch.setenv("PATH", f"{said.parent}:/usr/bin:/bin")
    scope = tmp_path / "a.slice" / "other.scope"
    scope.mkdir(parents=True)
    scope.joinpath("cgroup.procs").write_text(processes)

    manager.forget("a.slice", {"memory": str(tmp_path / "a.slice" / "a.scope")})

    lines = said.read_text().splitlines() if said.exists() else []
    assert [line.removeprefix("--no-ask-password ") for line in lines] == calls
