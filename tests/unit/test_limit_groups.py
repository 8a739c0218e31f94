"""Files of control groups, in a directory that a test plays: no kernel is behind it, only what we would write there.

What the kernel makes of it is in tests/engines/local/test_limits.py, for the hierarchy that the machine has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import ObservedLimit, Phase
from reconciler.core.spec import Limits
from reconciler.engines.local.facts import LimitFacts, LocalService
from reconciler.engines.local.limits import groups, limiting, probe
from reconciler.engines.local.limits.means import Available, Ceilings, GroupPlace, Limit, Means

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "ocm-1-blog"
ALL = Ceilings(memory=2**30, cpus=1.5, tasks=100)
UNIFIED = ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "memory.current", "pids.current", "cgroup.type")
OLDER = {
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.usage_in_bytes"),
    "cpu": ("cpu.cfs_period_us", "cpu.cfs_quota_us"),
    "pids": ("pids.max", "pids.current"),
}


def played_unified(root: Path) -> Available:
    """A directory that looks like a group of the unified hierarchy, with our project's group in it."""
    group = root / NAME
    group.mkdir(parents=True)
    root.joinpath("cgroup.subtree_control").write_text("cpu memory pids\n")
    for file in (*UNIFIED, "cgroup.procs", "cgroup.subtree_control"):
        group.joinpath(file).write_text("")
    place = GroupPlace(folder=str(root), version=2)
    return Available(groups=dict.fromkeys(OLDER, place))


def played_older(root: Path) -> Available:
    """Directories that look like a group of each older hierarchy, with our project's group in it."""
    for controller, files in OLDER.items():
        root.joinpath(controller, NAME).mkdir(parents=True)
        for file in (*files, "cgroup.procs"):
            root.joinpath(controller, NAME, file).write_text("")
    return Available(groups={each: GroupPlace(folder=str(root / each), version=1) for each in OLDER})


def contents(group: Path) -> dict[str, str]:
    return {path.name: text for path in group.iterdir() if path.is_file() and (text := path.read_text())}


def test_limits_of_the_unified_hierarchy(tmp_path: Path) -> None:
    """One group of the project, one below it for the service; no swap beyond the memory."""
    folders = groups.make(played_unified(tmp_path), NAME, "agent")
    groups.limit(folders, ALL)

    assert folders == dict.fromkeys(OLDER, str(tmp_path / NAME / "agent"))
    assert contents(tmp_path / NAME) == {
        "memory.max": str(2**30),
        "memory.swap.max": "0",
        "cpu.max": "150000 100000",
        "pids.max": "100",
        "cgroup.subtree_control": "+memory",
    }
    assert groups.means(folders) == dict.fromkeys(OLDER, Means.CGROUP2)


def test_limits_of_the_older_hierarchies(tmp_path: Path) -> None:
    """Each has its own."""
    folders = groups.make(played_older(tmp_path), NAME, "agent")
    groups.limit(folders, ALL)

    assert contents(tmp_path / "memory" / NAME) == {
        "memory.limit_in_bytes": str(2**30),
        "memory.memsw.limit_in_bytes": str(2**30),
    }
    assert contents(tmp_path / "cpu" / NAME) == {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}
    assert contents(tmp_path / "pids" / NAME) == {"pids.max": "100"}
    assert groups.means(folders) == dict.fromkeys(OLDER, Means.CGROUP1)


@pytest.mark.parametrize("played", [played_unified, played_older])
def test_what_is_written_is_known_again(tmp_path: Path, played: Callable[[Path], Available]) -> None:
    """So nothing is applied twice; any difference is; no limit is written as such."""
    folders = groups.make(played(tmp_path), NAME, "agent")
    assert groups.outdated(folders, ALL)
    groups.limit(folders, ALL)

    assert not groups.outdated(folders, ALL)
    assert groups.memory_limit(folders) == 2**30
    for other in (Ceilings(memory=2**30, cpus=1.5), Ceilings(memory=2**29, cpus=1.5, tasks=100), Ceilings()):
        assert groups.outdated(folders, other)
    groups.limit(folders, Ceilings())
    assert groups.memory_limit(folders) is None


def test_no_limit_is_what_the_older_kernel_says_of_it(tmp_path: Path) -> None:
    """The largest whole number of pages."""
    folders = groups.make(played_older(tmp_path), NAME, "agent")
    groups.limit(folders, Ceilings())
    tmp_path.joinpath("memory", NAME, "memory.limit_in_bytes").write_text("9223372036854771712\n")

    assert not groups.outdated(folders, Ceilings())
    assert groups.memory_limit(folders) is None


def test_the_least_share_of_a_processor_is_the_kernels(tmp_path: Path) -> None:
    """It refuses less than a millisecond in a tenth of a second."""
    folders = groups.make(played_unified(tmp_path), NAME, "agent")
    groups.limit(folders, Ceilings(cpus=0.001))

    assert tmp_path.joinpath(NAME, "cpu.max").read_text() == "1000 100000"


def test_what_is_used_is_of_the_whole_project(tmp_path: Path) -> None:
    """As far as there is a number; of a group that is gone there is none."""
    folders = groups.make(played_unified(tmp_path), NAME, "agent")
    tmp_path.joinpath(NAME, "memory.current").write_text("4096\n")

    assert groups.used(folders) == {Limit.MEMORY: 4096}
    assert groups.used({"memory": str(tmp_path / "gone" / "agent")}) == groups.used({}) == {}
    assert groups.means({"memory": str(tmp_path / "gone" / "agent")}) == {}


def test_groups_are_removed_with_the_last_service(tmp_path: Path) -> None:
    """In the kernel's folder what is left goes with the folder; here the test plays that."""
    place = Available(groups={"pids": GroupPlace(folder=str(tmp_path), version=1)})
    agent, bridge = (groups.make(place, NAME, service) for service in ("agent", "bridge"))
    groups.remove(agent.values())
    assert [path.name for path in tmp_path.joinpath(NAME).iterdir()] == ["bridge"]
    groups.remove(bridge.values())
    groups.remove(bridge.values())

    assert list(tmp_path.iterdir()) == []


def test_managers_with_other_homes_have_other_groups(tmp_path: Path) -> None:
    """A project's name is its own only there."""
    here, there = (groups.name_of(tmp_path / each, "blog") for each in ("a", "b"))

    assert here != there
    assert here.startswith("ocm-")
    assert here.endswith("-blog")


# -- the probe ---------------------------------------------------------------------------------------------------------


def process(root: Path, groups_text: str, mounts: str) -> Path:
    """A folder that looks like one of /proc."""
    folder = root / "process"
    folder.mkdir()
    folder.joinpath("cgroup").write_text(groups_text)
    folder.joinpath("mountinfo").write_text(mounts)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cgroup.subtree_control": "memory pids", "cgroup.type": "domain"}, {"memory", "pids"}),
        ({"cgroup.subtree_control": "", "cgroup.type": "domain", "cgroup.controllers": "cpu memory pids"}, set()),
        ({"cgroup.subtree_control": "", "cgroup.controllers": "cpu io memory"}, {"cpu", "memory"}),
        ({}, set()),
    ],
)
def test_of_the_unified_hierarchy_counts_what_groups_below_can_have(
    tmp_path: Path, files: dict[str, str], expected: set[str]
) -> None:
    """A group with processes gives on only what it gives already; the root of all may give on what it has."""
    for name, text in files.items():
        tmp_path.joinpath(name).write_text(text)
    folder = process(tmp_path, "0::/\n", f"31 1 0:28 / {tmp_path} rw - cgroup2 cgroup2 rw\n")

    found = probe.find(folder)
    assert found.groups == dict.fromkeys(expected, GroupPlace(folder=str(tmp_path), version=2))


def test_what_cannot_be_written_or_read_counts_for_nothing(tmp_path: Path) -> None:
    """A mount that shows a folder which is not there; no /proc at all."""
    folder = process(tmp_path, "4:memory:/a\n", f"31 1 0:28 / {tmp_path}/gone rw - cgroup cgroup rw,memory\n")

    assert probe.find(folder) == probe.find(tmp_path / "nobody") == Available()


# -- what is observed --------------------------------------------------------------------------------------------------


def test_a_project_without_limits_has_no_facts() -> None:
    """Whatever it was started with."""
    assert limiting.facts("blog", Limits(required=True), [LocalService(phase=Phase.RUNNING)]) == LimitFacts()


def test_limits_in_force_are_those_of_the_groups_it_runs_in(tmp_path: Path) -> None:
    """With what they use, and whether they are as wanted."""
    folders = groups.make(played_unified(tmp_path), NAME, "agent")
    tmp_path.joinpath(NAME, "memory.current").write_text("4096\n")
    service, limits = LocalService(phase=Phase.RUNNING, groups=tuple(folders.items())), Limits(memory="1GiB", cpus=1.5)
    before = limiting.facts("blog", limits, [service])
    groups.limit(folders, limiting.ceilings(limits))

    memory, cpus = before.shown
    assert memory == ObservedLimit(name="memory", value=2**30, used=4096, enforced_by="cgroup v2", hard=True)
    assert (cpus.value, cpus.used, cpus.hard) == (1.5, None, True)
    assert (before.outdated, limiting.facts("blog", limits, [service]).outdated) == (True, False)
    assert before.warning == ""


def test_a_run_outside_of_any_group_is_not_said_to_be_limited_by_one() -> None:
    """Whatever the next start would get: it was started where none could be made."""
    facts = limiting.facts("blog", Limits(memory="1GiB", cpus=1.0), [LocalService(phase=Phase.RUNNING)])

    assert [(each.enforced_by, each.hard) for each in facts.shown] == [("a watchdog (soft)", False), ("nothing", False)]
    assert facts.warning.endswith("limits.memory by a watchdog (soft), limits.cpus by nothing")
    assert not facts.outdated
