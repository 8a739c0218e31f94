"""What is read from an OpenCode about its plugins, and told to people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.agents.base import Place
from reconciler.agents.opencode import plugins
from reconciler.engines.local.start_notes import StartNotes

if TYPE_CHECKING:
    from pathlib import Path

LOADING = "level=INFO run=r1 message=bootstrapping directory=/repo\nlevel=ERROR run=r1 message=other\n"
HOSTILE = "Failed to load plugin file:///p.js: \x1b[31mred\x1b[0m\n" + "x" * 5000


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    """One whose repository has a plugin, and whose registry is named with a password."""
    variables = {"NPM_CONFIG_REGISTRY": "https://joe:hush@registry.example/npm?token=hush"}
    place = Place(
        repo=tmp_path / "repo",
        home=tmp_path / "home",
        xdg=tmp_path / "xdg",
        port=1,
        secret="",
        environment={},
        variables=variables,
    )
    (place.repo / ".opencode" / "plugin").mkdir(parents=True)
    (place.repo / ".opencode" / "plugin" / "p.ts").touch()
    plugins.log(place).parent.mkdir(parents=True)
    return place


def event(message: str, kind: str = "session.error") -> str:
    error: dict[str, Any] = {"name": "UnknownError", "data": {"message": message}}
    return "data: " + json.dumps({"payload": {"type": kind, "properties": {"error": error}}}) + "\n\n"


def test_an_install_is_named_from_its_begin_to_its_end(place: Place) -> None:
    """Of this run, not of the one before, and only where there are plugins."""
    log = plugins.log(place)
    assert plugins.doing(place, 0) == ""
    log.write_text(LOADING)
    assert plugins.doing(place, 0) == "installing plugins (npm)"
    assert plugins.doing(place, len(LOADING)) == ""
    log.write_text(LOADING + "level=INFO run=r1 message=init\n")
    assert plugins.doing(place, 0) == plugins.stuck(place, 0) == ""
    log.write_text(LOADING)
    (place.repo / ".opencode" / "plugin" / "p.ts").unlink()
    assert plugins.doing(place, 0) == ""
    (place.repo / "opencode.json").write_text('{"plugin": ["x"]}')
    assert plugins.doing(place, 0) == "installing plugins (npm)"


def test_a_registry_is_named_without_its_password(place: Place) -> None:
    """And with the way out."""
    plugins.log(place).write_text(LOADING)

    message = plugins.stuck(place, 0)

    assert "the registry https://registry.example does not answer" in message
    assert 'agent.env: {npm_config_offline: "true"}' in message
    assert "hush" not in message


async def test_what_plugins_say_is_one_short_plain_line(place: Place) -> None:
    """Whatever an agent makes of its events and its log; other errors are not told."""
    text = event(HOSTILE) + event("Failed to install plugin x@1: no") + event("key sk-1") + event("Plugin", "other")
    line = f'level=ERROR run=r1 message="failed to load plugin" path=file:///q.js error={json.dumps(HOSTILE)}\n'
    plugins.log(place).write_text(f"{LOADING}{line}level=INFO run=r1 message=init\n")

    found = (*plugins._failures(text), *await plugins.thrown(place, 0))

    assert [one[:45] for one in found] == [
        "Failed to load plugin file:///p.js: red xxxxx",
        "Failed to install plugin x@1: no",
        "Failed to load plugin file:///q.js: Failed to",
    ]
    assert all(one.isprintable() and len(one) < 310 for one in found)


def test_what_was_reported_is_kept_for_this_run_only(tmp_path: Path) -> None:
    """And is plain, whoever wrote it there."""
    notes = StartNotes(tmp_path)
    notes.write("run-1", ("a\x1b[2Jb",))

    assert notes.read("run-1") == ("a b",)
    assert notes.read("run-2") == ()
    notes.write("run-2", ())
    assert notes.read("run-2") == ()
    (tmp_path / "agent.plugins").write_text("[nonsense")
    assert notes.read("run-2") == ()
