"""A key, a provider or a login of the user's that did not reach the agent, while its status said Running."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.agents.opencode.kind import OPENCODE
from tests.support.npmregistry import PLUGIN, a_registry

if TYPE_CHECKING:
    from tests.support.world import World

KEY = "sk-of-a-model-provider"


def test_a_provider_key_has_a_place_and_the_refusal_in_a_spec_names_it(world: World) -> None:
    """In the sandbox's `.env` or in that of all projects; the agent has it, and its bridge has not."""
    world.light("app", agent="{env: {OPENAI_API_KEY: x}}")
    assert "set it with: opencode-manager secrets NAME OPENAI_API_KEY (or --all OPENAI_API_KEY)" in world.run(
        "validate", code=1
    )
    world.light("app")
    with world.home.sandbox("app").env_file.open("a") as file:
        file.write(f"ANTHROPIC_API_KEY={KEY}\n")
    shared = world.home.root / ".env"
    shared.touch(mode=0o600)
    shared.write_text(f"ANTHROPIC_API_KEY=overruled\nCORP_KEY={KEY}\n")
    world.start()
    status = world.ready("app")

    agent, bridge = (psutil.Process(status[service]["pid"]).environ() for service in ("agent", "bridge"))

    assert agent["ANTHROPIC_API_KEY"] == agent["CORP_KEY"] == KEY
    assert KEY not in json.dumps(bridge) + json.dumps(status) + world.run("env", "app")
    assert status["warnings"] == []


def test_the_users_own_providers_are_the_agents_unless_the_spec_says_no(world: World) -> None:
    """Without its writes reaching the user's folder."""
    config = world.root / "user" / ".config" / "opencode"
    config.mkdir(parents=True)
    (config / "opencode.json").write_text('{"provider": {"corp": {}}}')
    world.light("app")
    world.light("bare", agent="{config: none}")
    world.start()
    copies = [world.home.sandbox(name).xdg / "config" / "opencode" / "opencode.json" for name in ("app", "bare")]
    for name in ("app", "bare"):
        world.ready(name)

    assert [copy.exists() for copy in copies] == [True, False]
    assert (copies[0].read_text(), copies[0].resolve()) == ('{"provider": {"corp": {}}}', copies[0])


def test_a_login_while_an_agent_runs_is_taken_up(world: World) -> None:
    """Though there was none when it was first started."""
    logins = world.root / "user" / ".local" / "share" / "opencode" / "auth.json"
    world.environment["OPENCODE_MANAGER_LIVENESS"] = "0.2"
    world.light("app")
    world.start()
    pid = world.ready("app")["agent"]["pid"]

    logins.parent.mkdir(parents=True)
    logins.write_text(json.dumps({"corp": {"type": "api", "key": KEY}}))

    world.wait("app", lambda status: bool(status["ready"]["status"]) and status["agent"]["pid"] != pid)
    copy = world.home.sandbox("app").xdg / OPENCODE.credentials
    assert json.loads(copy.read_text())["corp"]["key"] == KEY
    copy.write_text(json.dumps({"corp": {"type": "api", "key": f"{KEY}-renewed"}}))
    world.run("stop", "app")
    assert json.loads(logins.read_text())["corp"]["key"] == f"{KEY}-renewed"


@pytest.mark.long
def test_a_plugin_of_the_users_is_installed_and_waited_for(real_world: World) -> None:
    """As one of the project is; one that throws is named."""
    folder = real_world.root / "user" / ".config" / "opencode" / "plugin"
    folder.mkdir(parents=True)
    (folder / "one.js").write_text("throw new Error('boom')\n")
    with a_registry() as registry:
        real_world.write(
            "app", f"git: {{url: {real_world.origin}}}\nagent: {{env: {{npm_config_registry: {registry.url}}}}}\n"
        )
        real_world.start()
        status = real_world.ready("app")

        assert f"/{PLUGIN}" in registry.asked
    assert status["agent"]["restarts"] == 0
    assert "one.js: boom" in json.dumps(status["warnings"])
