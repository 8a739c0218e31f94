"""Limits as decisions: by what they are enforced, what is planned for them, and how they are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.core import restarts, status
from reconciler.core.observed import Exit, ObservedLimit, Phase, RestartRecord, Service
from reconciler.core.plan import Plan, make_plan
from reconciler.core.reasons import Reason
from reconciler.core.status import Sources
from reconciler.engines.local.actions import ApplyLimits
from reconciler.engines.local.facts import LimitFacts, LocalService
from reconciler.engines.local.limits import means, probe
from reconciler.engines.local.limits.means import Available, Ceilings, GroupPlace, Limit, Means
from reconciler.frontends.cli import render
from tests.unit.worlds import NOW, converged, exited, ledger, make_spec, running, view

if TYPE_CHECKING:
    from reconciler.core.observed import ObservedProject

ALL = Ceilings(memory=2**31, cpus=1.5, tasks=100)
OLDER = Available(groups={each: GroupPlace(folder=f"/sys/fs/cgroup/{each}", version=1) for each in ("memory", "cpu")})
UNIFIED = Available(groups={"memory": GroupPlace(folder="/sys/fs/cgroup/a", version=2)})
MEMORY = ObservedLimit(name="memory", value=2**31, used=2**29, enforced_by="cgroup v1", hard=True)


# -- by what -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (OLDER, {Limit.MEMORY: Means.CGROUP1, Limit.CPUS: Means.CGROUP1, Limit.TASKS: Means.WATCHDOG}),
        (UNIFIED, {Limit.MEMORY: Means.CGROUP2, Limit.CPUS: Means.NOTHING, Limit.TASKS: Means.WATCHDOG}),
        (Available(), {Limit.MEMORY: Means.WATCHDOG, Limit.CPUS: Means.NOTHING, Limit.TASKS: Means.WATCHDOG}),
    ],
)
def test_each_limit_has_the_hardest_means_that_there_is(found: Available, expected: dict[Limit, Means]) -> None:
    """A machine may have a control group for one and not for the other."""
    assert means.choose(ALL, found) == expected


def test_what_is_not_limited_has_no_means() -> None:
    """Nothing is reported of it."""
    assert means.choose(Ceilings(tasks=5), OLDER) == {Limit.TASKS: Means.WATCHDOG}
    assert means.choose(Ceilings(), OLDER) == {}


def test_required_limits_refuse_what_is_soft() -> None:
    """Naming which, and what to do; all that is hard is no reason."""
    refused = means.refusal("blog", means.choose(ALL, OLDER))

    assert refused.startswith("cannot enforce limits.tasks of blog: ")
    assert refused.endswith("or set limits.required: false")
    assert means.refusal("blog", means.choose(Ceilings(memory=2**30), OLDER)) == ""
    assert "limits.memory, limits.cpus" in means.refusal("blog", means.choose(ALL, Available()))


@pytest.mark.parametrize(
    ("count", "text"), [(2**31, "2GiB"), (3 * 2**29, "1.5GiB"), (300 * 2**20, "300MiB"), (2**20, "1MiB")]
)
def test_a_limit_is_written_as_in_a_spec(count: int, text: str) -> None:
    """Rounded to a tenth."""
    assert means.size(count) == text


# -- where control groups are ------------------------------------------------------------------------------------------


def mount(kind: str, options: str, point: str, root: str = "/") -> str:
    return f"35 31 0:32 {root} {point} rw,nosuid - {kind} {kind} rw,{options}\n"


def found(groups: str, mounts: str) -> list[tuple[list[str], str, int]]:
    return [(sorted(names), place.folder, place.version) for names, place in probe.places(groups, mounts)]


def test_the_unified_hierarchy_has_one_place() -> None:
    """As on most machines."""
    mounts = "22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mount("cgroup2", "nsdelegate", "/sys/fs/cgroup")

    assert found("0::/user.slice/x\n", mounts) == [([], "/sys/fs/cgroup/user.slice/x", 2)]


def test_the_older_hierarchy_has_one_for_each_controller() -> None:
    """Mounted together or alone; a named one and one that is not mounted have none."""
    mounts = mount("cgroup", "cpu,cpuacct", "/cg/cpu") + mount("cgroup", "memory", "/cg/memory")
    groups = "4:memory:/box\n2:cpu,cpuacct:/\n3:pids:/box\n9:name=systemd:/\n0::/\n"

    assert found(groups, mounts) == [(["memory"], "/cg/memory/box", 1), (["cpu", "cpuacct"], "/cg/cpu", 1)]


@pytest.mark.parametrize(
    ("path", "folders"),
    [("/docker/a", ["/cg"]), ("/docker/a/b", ["/cg/b"]), ("/docker/ab", []), ("/", [])],
)
def test_a_mount_may_show_only_a_part(path: str, folders: list[str]) -> None:
    """In a container; a group outside of it cannot be reached."""
    groups = found(f"4:memory:{path}\n", mount("cgroup", "memory", "/cg", root="/docker/a"))

    assert [folder for _, folder, _ in groups] == folders


# -- what is planned ---------------------------------------------------------------------------------------------------


def test_a_changed_limit_is_applied_to_what_runs() -> None:
    """And nothing is restarted; what does not run gets it at its start."""
    changed = make_plan(view(facts=converged(limits=LimitFacts(outdated=True))))
    agent, bridge = exited(asked=True), exited(asked=True)
    stopped = make_plan(view(facts=converged(limits=LimitFacts(outdated=True), agent=agent, bridge=bridge)))

    assert changed.actions == (ApplyLimits(cause="its limits have changed"),)
    assert not [action for action in stopped.actions if isinstance(action, ApplyLimits)]


@pytest.mark.parametrize(
    ("agent", "held"),
    [
        (exited(asked=True), True),
        (LocalService(phase=Phase.NEVER), True),
        (running(), False),
        (running(digest="old"), True),
    ],
)
def test_nothing_is_started_where_required_limits_cannot_be_enforced(agent: LocalService, *, held: bool) -> None:
    """What runs goes on, and is not ended for a start that would be refused."""
    plan = make_plan(view(facts=converged(limits=LimitFacts(problem="cannot enforce it"), agent=agent)))

    assert plan.actions == ()
    assert (plan.hold is not None and plan.hold.reason is Reason.LIMITS_UNAVAILABLE) == held


# -- out of memory -----------------------------------------------------------------------------------------------------


def test_what_ran_out_of_memory_waits_longer() -> None:
    """From the first restart on: it would take it again at once."""
    ended = Exit(run_id="run-0", signal=9, at=NOW.boot, boot_id=NOW.boot_id, lived=3.0, out_of_memory=True)
    record, waits = RestartRecord(), []
    for number in range(9):
        record = restarts.account(record, replace(ended, run_id=f"run-{number}"), "always", NOW)
        waits.append(restarts.wait_left(record, NOW))

    expected = [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert all(0.8 * wanted <= wait <= 1.2 * wanted for wanted, wait in zip(expected, waits, strict=True))


# -- how it is shown ---------------------------------------------------------------------------------------------------


def limited(*limits: ObservedLimit) -> ObservedProject:
    return converged(limits=LimitFacts(shown=limits))


def computed(facts: ObservedProject) -> status.ProjectStatus:
    spec = make_spec(limits={"memory": "2GiB"})
    sources = Sources(
        name="app", spec=spec, facts=facts, ledger=ledger(), plan=Plan(), settled=True, observed_generation=1
    )
    return status.compute(sources)


def test_a_limit_is_shown_with_what_is_used_and_by_what_it_is_enforced() -> None:
    """To people and to programs."""
    shown = computed(
        limited(MEMORY, ObservedLimit(name="cpus", value=1.5, enforced_by="nothing", hard=False))
    ).to_dict()
    lines = [line.strip() for line in render.render_status(shown, NOW.wall).splitlines() if "Limits" in line]

    assert shown["limits"][0] == vars(MEMORY)
    assert [line.removeprefix("Limits:").strip() for line in lines] == [
        "memory 512 MiB of 2.0 GiB, enforced by cgroup v1",
        "cpus 1.5, enforced by nothing",
    ]


def test_what_is_used_is_no_news() -> None:
    """It differs at each observation; by what it is enforced is news."""
    before, used = computed(limited(MEMORY)), computed(limited(replace(MEMORY, used=1)))

    assert status.timeless(before) == status.timeless(used)
    assert status.timeless(before) != status.timeless(computed(limited(replace(MEMORY, enforced_by="nothing"))))


def test_a_service_that_is_not_running_has_no_groups() -> None:
    """A new one, that is."""
    assert converged().service(Service.AGENT) == running()
    assert running().groups == ()
