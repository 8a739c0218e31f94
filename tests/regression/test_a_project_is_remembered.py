"""A ledger written by another version or by an agent: the project stays the same one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.core import restarts
from reconciler.settings import Home
from reconciler.state.ledger import Ledgers
from tests.unit.worlds import NOW, exited, make_spec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "change",
    [
        {"restarts": {"agent": {"count": 2, "a_field_of_tomorrow": 1}}},
        {"restarts": {"agent": {"count": "x", "streak": None, "last_exit": ["y"]}}},
        {"restarts": []},
        {"generation": "7"},
        {"spec": "gone"},
        {"spec": {"agent": "gone"}},
        {"schema": 99, "ports": {"agent": 4101, "bridge": "5101", "web": {}}},
    ],
)
def test_after_an_upgrade_or_a_downgrade_uid_generation_and_ports_are_those_of_before(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    home, spec = Home(tmp_path), make_spec()
    path = home.sandbox("app").ledger
    path.parent.mkdir(parents=True)
    Ledgers(home).accept("app", spec)
    base = {"uid": "a" * 32, "generation": 7, "digest": spec.digest(), "spec": spec.model_dump(mode="json")}
    path.write_text(json.dumps({**base, "ports": {"agent": 4101, "bridge": 5101}, **change}))

    ledgers = Ledgers(home)
    found = ledgers.accept("app", spec)
    records = (
        {"agent": restarts.account(found.restarts["agent"], exited().exit, "always", NOW)} if found.restarts else {}
    )
    ledgers.update("app", restarts=records)

    assert (found.uid, found.generation, dict(found.ports)) == ("a" * 32, 7, {"agent": 4101, "bridge": 5101})
    assert ledgers.taken_ports(but="another") == {4101, 5101}
