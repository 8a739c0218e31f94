"""Ledgers read from any file: whoever wrote it, whatever happened to it. Real files, no processes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core import restarts
from reconciler.core.observed import Ledger, RestartRecord, Service
from reconciler.core.plan import Plan, make_plan
from reconciler.settings import Home
from reconciler.state import ledger_data
from reconciler.state.ledger import Ledgers
from tests.unit.worlds import KEPT_PORTS, NOW, exited, make_spec, view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.core.spec import Spec

SPEC = make_spec(agent={"port": 4101})
RECORD = RestartRecord(count=3, streak=2, counted="run-0", not_before=900.0, boot_id="this-boot", last_exit="signal 9")
WHOLE = Ledger(
    uid="0123456789abcdef0123456789abcdef",
    generation=7,
    digest=SPEC.digest(),
    spec=SPEC.model_dump(mode="json"),
    ports=KEPT_PORTS,
    ref="main",
    restarts={"agent": RECORD, "bridge": RestartRecord()},
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, 10**18, -1, 0, 65536])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def paths(data: object, where: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*where, key)
            yield from paths(value, (*where, key))


PATHS = tuple(paths(json.loads(ledger_data.encode(WHOLE))))


def reconcile(home: Home, spec: Spec = SPEC) -> Ledger:
    """What a pass does with a ledger, without a machine: accept, account, plan, write; the ledger as it is then."""
    ledgers = Ledgers(home)
    found = ledgers.accept("app", spec)
    ended = exited().exit
    records = {str(each): restarts.account(found.restart(each), ended, "always", NOW) for each in Service}
    found = ledgers.update("app", restarts=records)
    for seen in (view(), view(facts=view().facts.with_service(Service.AGENT, exited()))):
        assert isinstance(make_plan(view(spec=spec, facts=seen.facts, ledger=found)), Plan)
    assert Ledgers(home).taken_ports(but="other") <= set(found.ports.values())
    ledgers.flush("app")
    assert Ledgers(home).get("app") == found
    return found


@given(st.sampled_from(PATHS), st.sampled_from(["replace", "remove", "add"]), JSON_VALUES, st.text(max_size=8))
@settings(max_examples=150, database=None)
def test_any_change_of_any_value_keeps_what_identifies_the_project(
    path: tuple[str, ...], how: str, value: Any, new_key: str
) -> None:
    """Uid, generation and ports survive, but the one that was changed itself; and it can be reconciled."""
    data = json.loads(ledger_data.encode(WHOLE))
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    if how == "remove":
        del parent[path[-1]]
    else:
        parent[path[-1] if how == "replace" else f"new-{new_key}"] = value
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        put(home, json.dumps(data).encode())
        found = reconcile(home)

    assert found.spec == WHOLE.spec
    assert "uid" in path or found.uid == WHOLE.uid
    assert "generation" in path or path[0] in {"digest", "spec"} or found.generation == WHOLE.generation
    assert "generation" in path or found.generation in {7, 8}
    assert path[0] == "ports" or found.ports == KEPT_PORTS
    assert path[:2] == ("ports", "agent") or path == ("ports",) or found.ports["agent"] == 4101


@given(st.integers(0, 2000), st.binary(max_size=4), st.booleans())
@settings(max_examples=100, database=None)
def test_any_damage_to_the_bytes_keeps_what_can_still_be_read(at: int, inserted: bytes, cut: bool) -> None:
    """Cut or overwritten anywhere, what stands before the damage is kept; and it can be reconciled."""
    content = ledger_data.encode(WHOLE)
    at = min(at, len(content))
    damaged = content[:at] + inserted + (b"" if cut else content[at + len(inserted) :])
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        put(home, damaged)
        found = reconcile(home)

    for name in ("uid", "generation", "ports"):
        end = content.index(f'"{name}"'.encode())
        end = content.index(b"}" if name == "ports" else b",", end) + 1
        if at >= end:
            value, changed = getattr(found, name), getattr(WHOLE, name)
            assert value == changed or (name == "generation" and value == changed + 1)


def test_an_older_file_has_no_number_and_a_newer_one_has_more_fields() -> None:
    """Both are read without a word of loss; what is written has our number."""
    old = json.loads(ledger_data.encode(WHOLE))
    del old["schema"], old["vanished"], old["restarts"]["agent"]["waived"]
    new = json.loads(ledger_data.encode(WHOLE)) | {"schema": 9, "owner": {"name": "x"}}
    new["restarts"]["agent"]["reason"] = "OOM"
    new["spec"] |= {"engine": "local", "placement": {"a": "b"}}
    new["spec"]["agent"]["rollout"] = "now"

    readings = [ledger_data.read(json.dumps(data).encode()) for data in (old, new)]

    assert [(reading.ledger, reading.lost, reading.whole) for reading in readings] == [(WHOLE, (), True)] * 2
    assert json.loads(ledger_data.encode(WHOLE))["schema"] == ledger_data.SCHEMA


def test_a_file_that_cannot_be_read_for_now_is_not_replaced(tmp_path: Path) -> None:
    """What was decided meanwhile is joined to what it says once it can be read."""
    home = Home(tmp_path)
    path = put(home, b"")
    path.unlink()
    path.symlink_to(path)  # cannot be opened, even by root
    ledgers = Ledgers(home)
    accepted = ledgers.accept("app", SPEC)
    ledgers.flush("app")
    unwritten = ledgers.save_again()
    path.unlink()
    put(home, ledger_data.encode(WHOLE))
    assert ledgers.save_again() == ()

    assert accepted.uid != WHOLE.uid
    assert len(unwritten) == 1
    assert unwritten[0].startswith(f"cannot write {path}: ")
    assert Ledgers(home).get("app") == WHOLE


def test_a_file_far_too_long_is_none_of_ours(tmp_path: Path) -> None:
    """An agent can write as much as it likes."""
    home = Home(tmp_path)
    put(home, ledger_data.encode(WHOLE) + b" " * (ledger_data.MAX_BYTES + 1))
    ledgers = Ledgers(home)

    found = ledgers.get("app")

    assert found is not None
    assert (found.uid, found.generation, found.ports) == (WHOLE.uid, 7, KEPT_PORTS)
    assert "was broken" in ledgers.damage("app")


def test_a_port_is_given_up_only_for_one_that_can_be_had(tmp_path: Path) -> None:
    """What another project keeps is taken, unless it asks for another within the range in force."""
    home = Home(tmp_path)
    spec = make_spec(agent={"port": 4150})
    put(home, ledger_data.encode(replace(WHOLE, spec=spec.model_dump(mode="json"))))
    ledgers = Ledgers(home)

    assert ledgers.taken_ports(but="other", ranges={"agent": (4100, 4199)}) == {5101}
    assert ledgers.taken_ports(but="other", ranges={"agent": (4980, 4989)}) == {4101, 5101}
    assert ledgers.taken_ports(but="app") == set()


def put(home: Home, content: bytes) -> Path:
    """Write the ledger of `app` past the product."""
    path = home.sandbox("app").ledger
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
