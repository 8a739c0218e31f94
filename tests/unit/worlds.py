"""Facts for tests of decisions: small builders, and Hypothesis strategies over every world a plan may meet."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from reconciler.core import spec as specs
from reconciler.core.observed import (
    Exit,
    Health,
    Ledger,
    Now,
    ObservedProject,
    Phase,
    Probe,
    RestartRecord,
)
from reconciler.core.plan import View
from reconciler.core.port_rules import PORTS
from reconciler.engines.local.facts import (
    EnvFacts,
    KeyFacts,
    LimitFacts,
    LocalFacts,
    LocalService,
    RepoFacts,
    ToolchainFacts,
    details,
    with_details,
)
from reconciler.engines.local.recipe import recipe

if TYPE_CHECKING:
    from reconciler.core.spec import Spec

URL = "git@example.org:team/app.git"
NOW = Now(boot=1000.0, boot_id="this-boot", wall=1_800_000_000.0)
KEPT_PORTS = {"agent": 4101, "bridge": 5101}


def make_spec(**fields: Any) -> Spec:
    return specs.parse({"git": {"url": URL}, **fields})


def running(pid: int | None = 10, health: Health = Health.READY, **changes: Any) -> LocalService:
    facts = LocalService(
        phase=Phase.RUNNING,
        instance="run-1",
        pid=pid,
        keeper_pid=9,
        port=4101,
        digest="d",
        wanted_digest="d",
        started_wall=NOW.wall - 60,
        probe=Probe(health=health, at=NOW.boot, at_wall=NOW.wall),
    )
    return replace(facts, **changes)


def exited(code: int | None = 1, signal: int | None = None, **changes: Any) -> LocalService:
    ended = Exit(run_id="run-1", code=code, signal=signal, at=NOW.boot - 1, boot_id=NOW.boot_id, lived=5.0)
    return LocalService(
        phase=Phase.EXITED, instance="run-1", wanted_digest="d", digest="d", exit=replace(ended, **changes)
    )


LOCAL: Final = {"prepared", "env", "key", "repo", "toolchain", "confinement", "limits"}
"""Fields that are the local engine's own."""


def converged(**changes: Any) -> ObservedProject:
    """A project as desired: everything runs and is ready."""
    local = LocalFacts(
        prepared=True,
        env=EnvFacts(path="/sb/app/.env", exists=True),
        key=KeyFacts(needed=True, path="/keys/app-deploy", exists=True, public="ssh-ed25519 AAAA app"),
        repo=RepoFacts(cloned=True, url=URL),
        toolchain=ToolchainFacts(path="/bin/opencode", version="1.18.33"),
    )
    facts = ObservedProject(name="app", sandbox=True, agent=running(), bridge=running(20, port=5101))
    return changed(with_details(facts, local), **changes)


def changed(facts: ObservedProject, **changes: Any) -> ObservedProject:
    """The same project but for these fields, the local ones too."""
    local = replace(details(facts), **{key: value for key, value in changes.items() if key in LOCAL})
    rest = {key: value for key, value in changes.items() if key not in LOCAL}
    return replace(with_details(facts, local), **rest)


def ledger(**changes: Any) -> Ledger:
    return replace(Ledger(uid="u", generation=1, ports=KEPT_PORTS), **changes)


def view(
    spec: Spec | None = None, facts: ObservedProject | None = None, *, development: bool = False, **changes: Any
) -> View:
    """A view with the recipe of the local engine."""
    steps = partial(recipe, development=development, ports=changes.pop("ports", PORTS))
    base = View(spec=spec or make_spec(), facts=facts or converged(), ledger=ledger(), now=NOW, recipe=steps)
    return replace(base, **changes)


_texts = st.sampled_from(["", "cannot use it: fix it"])
_exits = st.builds(
    Exit,
    run_id=st.sampled_from(["run-1", "run-2"]),
    code=st.sampled_from([None, 0, 1]),
    signal=st.sampled_from([None, 9]),
    asked=st.booleans(),
    at=st.floats(0, 1000),
    boot_id=st.sampled_from(["this-boot", "other-boot"]),
    lived=st.sampled_from([0.0, 10.0, 1000.0]),
)
_services = st.builds(
    LocalService,
    phase=st.sampled_from(list(Phase)),
    instance=st.just("run-1"),
    pid=st.sampled_from([None, 10]),
    digest=st.sampled_from(["d", "old"]),
    wanted_digest=st.sampled_from(["", "d"]),
    fixed_port=st.sampled_from([None, 4101, 4150]),
    exit=st.none() | _exits,
    probe=st.builds(Probe, health=st.sampled_from(list(Health)), misses=st.integers(0, 9)),
    port_holder=st.sampled_from(["", "pid 7 (nginx)"]),
)
_local = st.builds(
    LocalFacts,
    prepared=st.booleans(),
    env=st.builds(EnvFacts, exists=st.booleans(), problems=st.sampled_from([(), ("cannot use it",)])),
    key=st.builds(KeyFacts, needed=st.booleans(), exists=st.booleans(), generated=st.booleans(), problem=_texts),
    repo=st.builds(
        RepoFacts,
        cloned=st.booleans(),
        url=st.sampled_from([URL, "git@example.org:other"]),
        problem=_texts,
        work_at_risk=st.sampled_from([None, (), ("2 unpushed commits",)]),
    ),
    toolchain=st.builds(ToolchainFacts, path=st.sampled_from(["", "/bin/opencode"]), version=st.just("1.18.33")),
    limits=st.builds(LimitFacts, outdated=st.booleans(), problem=_texts),
)
_seen = st.builds(
    ObservedProject,
    name=st.just("app"),
    sandbox=st.booleans(),
    agent=_services,
    bridge=_services,
    removable_spec=st.booleans(),
    leftovers=st.booleans(),
)
_facts = st.builds(with_details, _seen, _local)
_records = st.builds(
    RestartRecord,
    count=st.integers(0, 9),
    streak=st.integers(0, 20),
    counted=st.sampled_from(["", "run-1"]),
    not_before=st.floats(0, 5000),
    boot_id=st.sampled_from(["this-boot", "other-boot"]),
)
_ledgers = st.builds(
    Ledger,
    uid=st.just("u"),
    ports=st.sampled_from([{}, KEPT_PORTS, {"agent": 4101}]),
    ref=st.sampled_from([None, "main"]),
    restarts=st.fixed_dictionaries({}, optional={"agent": _records, "bridge": _records}),
)
specs_of_any_kind = st.builds(
    make_spec,
    state=st.sampled_from(["running", "stopped", "absent"]),
    restart=st.builds(dict, policy=st.sampled_from(["always", "on-failure", "never"])),
    discard_unpushed=st.booleans(),
)
_recipes = st.sampled_from([partial(recipe, development=each) for each in (False, True)])
views = st.builds(View, spec=specs_of_any_kind, facts=_facts, ledger=_ledgers, now=st.just(NOW), recipe=_recipes)
