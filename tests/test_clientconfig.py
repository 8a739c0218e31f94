"""What clients are told to find us: their own formats, a reference to the token, never the token."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from reconciler import clientconfig, published, server
from tests.support.fakecontroller import a_fake_controller, make_settings

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.settings import Settings
    from tests.support.world import World

PATIENCE = 60.0


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "with space", OPENCODE_MANAGER_PORT="4098")


def body(text: str) -> dict[str, Any]:
    """The configuration without the comments before it."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found: dict[str, Any] = tomllib.loads(text) if text.startswith("[") else json.loads(text)
    (servers,) = found.values()
    assert servers.keys() == {"ocm"}
    return dict(servers["ocm"])


@pytest.mark.parametrize("client", clientconfig.CLIENTS)
def test_no_snippet_has_the_token(settings: Settings, client: str) -> None:
    """It ends up in repositories and chats."""
    token = server.token(settings.home)

    assert token not in clientconfig.snippet(client, settings)


@pytest.mark.parametrize("client", sorted(set(clientconfig.CLIENTS) - {"claude-desktop"}))
def test_each_remote_client_gets_our_address_in_its_own_format(settings: Settings, client: str) -> None:
    """Whole JSON or TOML below the comments."""
    assert body(clientconfig.snippet(client, settings))["url"] == "http://127.0.0.1:4098/mcp"


def test_the_address_is_that_of_the_running_controller(settings: Settings) -> None:
    """Whatever port it was started with."""
    with a_fake_controller(settings):
        found = body(clientconfig.snippet("cursor", settings))

    assert found["url"] == "http://127.0.0.1:4099/mcp"


@pytest.mark.parametrize("client", ["claude-code", "cursor", "codex"])
def test_the_variable_the_snippet_names_is_set_by_its_own_line(settings: Settings, client: str) -> None:
    """The line can be pasted into a shell as it is."""
    text = clientconfig.snippet(client, settings)
    (line,) = re.findall(r"export .*", text)

    done = subprocess.run(["sh", "-c", f'{line}; printf %s "$OCM_TOKEN"'], capture_output=True, text=True, check=True)

    assert done.stdout == server.token(settings.home)
    assert "OCM_TOKEN" in json.dumps(body(text))


def test_opencode_is_pointed_to_the_file_and_kept_from_logging_in(settings: Settings) -> None:
    """A wrong token must not look like a request to log in."""
    found = body(clientconfig.snippet("opencode", settings))

    assert found["oauth"] is False
    assert found["headers"] == {"Authorization": f"Bearer {{file:{server.token_file(settings.home)}}}"}
    assert server.token_file(settings.home).stat().st_mode & 0o777 == 0o600


async def test_the_command_for_claude_desktop_serves(settings: Settings) -> None:
    """From any folder and with hardly any environment, as that client starts it."""
    found = body(clientconfig.snippet("claude-desktop", settings))
    parameters = StdioServerParameters(
        command=found["command"], args=found["args"], env=found["env"], cwd=settings.home.root.parent.parent
    )
    with a_fake_controller(settings):
        async with Client(stdio_client(parameters)) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}

    assert "opencode_start" in tools


@pytest.mark.xdist_group("opencode")
def test_the_real_opencode_connects_with_its_snippet(world: World, opencode_program: Path) -> None:
    """It reads the token from the file."""
    settings = make_settings(world.root, **world.environment)
    world.start()
    world.until(lambda: (index := published.read(world.home)).controller and index.controller.http_port, "the endpoint")
    config = world.root / "opencode.json"
    lines = clientconfig.snippet("opencode", settings).splitlines()
    config.write_text("\n".join(line for line in lines if not line.startswith("#")))
    environment = {"PATH": os.environ["PATH"], "OPENCODE_CONFIG": str(config), "OPENCODE_DISABLE_AUTOUPDATE": "1"}
    environment |= {name: str(world.root / name) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}

    done = subprocess.run(
        [opencode_program, "mcp", "list"],
        env=environment,
        cwd=world.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert re.search(r"ocm\W+connected", re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr)), done
    assert server.token(world.home) not in done.stdout + done.stderr
