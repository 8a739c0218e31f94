"""A real OpenCode whose repository has plugins: its install is waited for, and what goes wrong is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.npmregistry import PLUGIN, a_registry, a_silent_registry
from tests.support.world import git

if TYPE_CHECKING:
    from tests.support.world import Status, World

ONE_LINE = "export const One = async () => ({})\n"
THROWING = "export const Two = async () => { throw new Error('boom \\u001b[31mred') }\n"
BROKEN = "throw new Error('broken \\u001b[31mred')\n"


def commit(world: World, **plugins: str) -> None:
    """Put plugins into the repository."""
    folder = world.origin / ".opencode" / "plugin"
    folder.mkdir(parents=True)
    for name, text in plugins.items():
        (folder / f"{name}.js").write_text(text)
    git(world.origin, "add", ".")
    git(world.origin, "commit", "-q", "-m", "Plugins")


def write(world: World, **variables: str) -> None:
    world.write("app", json.dumps({"git": {"url": str(world.origin)}, "agent": {"env": variables}}))


def names(status: Status, *words: str) -> bool:
    shown = json.dumps([status["message"], status["warnings"]])
    return all(word in shown for word in words)


@pytest.mark.long
def test_a_project_with_a_plugin_of_one_line_starts_at_once(real_world: World) -> None:
    """Its install comes from a registry of our own, and nothing is told of plugins that work."""
    commit(real_world, one=ONE_LINE)
    with a_registry() as registry:
        write(real_world, npm_config_registry=registry.url)
        real_world.start()
        status = real_world.ready("app")

        assert f"/{PLUGIN}" in registry.asked
    assert status["agent"]["restarts"] == 0
    assert not names(status, "Failed to")


@pytest.mark.long
def test_plugins_that_throw_or_are_missing_are_reported(real_world: World) -> None:
    """The agent runs without them; their words are plain text."""
    commit(real_world, one=ONE_LINE, two=THROWING, three=BROKEN)
    (real_world.origin / "opencode.json").write_text('{"plugin": ["no-such-plugin-of-ours"]}')
    git(real_world.origin, "add", ".")
    git(real_world.origin, "commit", "-q", "-m", "A plugin that is not there")
    with a_registry() as registry:
        write(real_world, npm_config_registry=registry.url)
        real_world.start()
        before = real_world.ready("app")
        real_world.kill()
        real_world.start()
        again = real_world.wait(
            "app", lambda status: status["observed"] > before["observed"] and status["ready"]["status"]
        )

    assert again["warnings"] == before["warnings"]
    assert names(again, "two.js: boom", "three.js: broken", "Failed to install plugin no-such-plugin-of-ours")
    assert not names(again, "one.js")
    assert all(text.isprintable() for text in again["warnings"])


@pytest.mark.long
def test_a_registry_that_never_answers_is_named_with_the_way_out(real_world: World) -> None:
    """Which works."""
    real_world.environment["OPENCODE_MANAGER_START_TIMEOUT"] = "3"
    commit(real_world, one=ONE_LINE)
    with a_silent_registry() as url:
        write(real_world, npm_config_registry=url)
        real_world.start()
        real_world.wait("app", lambda status: names(status, "installing plugins (npm), "))
        real_world.wait("app", lambda status: names(status, url.removesuffix("/"), "npm_config_offline"))
        write(real_world, npm_config_registry=url, npm_config_offline="true")
        real_world.ready("app")
