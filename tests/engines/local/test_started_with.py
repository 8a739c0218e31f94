"""What of the user's an agent was started with, and that a change is noticed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.agents.base import Place, UserInputs
from reconciler.agents.opencode.driver import DRIVER
from reconciler.engines.local.world.started_with import Current, LaunchNote, StartedWith, outdated_config

if TYPE_CHECKING:
    from pathlib import Path

NOTE = LaunchNote(run_id="run-1", inputs=UserInputs(logins="l", config="c"), warnings=("a warning",), summary="3 files")


def test_a_note_is_read_back_for_its_own_run(tmp_path: Path) -> None:
    StartedWith(tmp_path).write(NOTE)

    assert StartedWith(tmp_path).read("run-1") == NOTE
    assert StartedWith(tmp_path).read("run-2") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_id": "run-1", "inputs": {"logins": 1}}', '{"run_id": "run-1"'])
def test_a_broken_note_says_nothing(tmp_path: Path, text: str) -> None:
    """Nor one of another version: the agent goes on."""
    (tmp_path / "agent.world").write_text(text)

    assert StartedWith(tmp_path).read("run-1") is None


def test_a_changed_configuration_is_a_warning_with_the_command() -> None:
    """As some of it may change all the time, nobody is restarted for that."""
    assert outdated_config(NOTE, NOTE.inputs, "app") == ()
    [warning] = outdated_config(NOTE, UserInputs(logins="l", config="d"), "app")
    assert warning.endswith("opencode-manager restart app")


def test_the_users_files_are_looked_at_once_for_all_and_again_when_it_matters(tmp_path: Path) -> None:
    """Two projects with the same settings share a look."""
    environment = {"HOME": str(tmp_path / "user")}
    xdg = tmp_path / "xdg"
    place = Place(repo=xdg, home=xdg, xdg=xdg, port=1, secret="s", environment=environment, variables={})
    current, logins = Current(), tmp_path / "user" / ".local" / "share" / "opencode" / "auth.json"
    before = current.of(DRIVER, place)
    logins.parent.mkdir(parents=True)
    logins.write_text(json.dumps({"p": {"type": "api", "key": "k"}}))

    assert current.of(DRIVER, replace(place, xdg=tmp_path)) == before
    assert current.changed()
    assert current.of(DRIVER, place) != before
    assert not current.changed()
