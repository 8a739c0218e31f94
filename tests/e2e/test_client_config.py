"""What clients are told to find us: their own formats, a reference to the token, never the token."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from reconciler.core.status import ServiceStatus
from reconciler.frontends.mcp import client_config, server
from reconciler.settings import UserError
from reconciler.state import published
from tests.support.fakecontroller import a_fake_controller, make_settings
from tests.support.opencode import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.settings import Settings
    from tests.support.world import World

PATIENCE = 120.0
LOCAL = {"claude-desktop", "cline", "zed", "lm-studio"}
"""Clients that start us."""
REMOTE = sorted(set(client_config.CLIENTS) - LOCAL)
BRIDGE_TOKEN = "a-bridge-token-of-many-characters"


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "with space", OPENCODE_MANAGER_PORT=str(free_port()))


@pytest.fixture(name="with_bridge")
def _with_bridge(settings: Settings) -> Iterator[int]:
    """A fake controller with a project whose bridge does not run, and the bridge's port."""
    port = free_port()
    sandbox = settings.home.sandbox("blog-api")
    sandbox.run.mkdir(parents=True)
    sandbox.env_file.write_text(f'OPENCODE_SERVER_PASSWORD=x\nMCP_TOOL_BEARER_TOKEN="{BRIDGE_TOKEN}"\r\n')
    with a_fake_controller(settings) as controller:
        bridge = ServiceStatus(state="stopped", port=port, url=f"http://127.0.0.1:{port}/mcp")
        controller.stalled("blog-api", "1", "WaitingForKey", "", bridge=bridge)
        yield port


def body(text: str, name: str = "ocm") -> dict[str, Any]:
    """The only server of a snippet, in whichever format it is."""
    found: dict[str, Any] = tomllib.loads(text) if text.startswith("[") else yaml.safe_load(text)
    found.pop("inputs", None)
    (servers,) = found.values()
    assert servers.keys() == {name}
    return dict(servers[name])


def shell(snippet: client_config.Snippet, variable: str) -> str:
    """What the variable is after the line of a hint that sets it."""
    [line] = re.findall(r"export .*", "\n".join(snippet.hints))
    done = subprocess.run(["sh", "-c", f'{line}; printf %s "${variable}"'], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("client", client_config.CLIENTS)
def test_no_snippet_has_the_token(settings: Settings, client: str) -> None:
    """It ends up in repositories and chats. The hints do not have it either."""
    token = server.token(settings.home)

    found = client_config.snippet(client, settings)

    assert token not in found.text + "".join(found.hints)


@pytest.mark.parametrize("client", REMOTE)
def test_each_remote_client_gets_our_address_in_its_own_format(settings: Settings, client: str) -> None:
    """The whole text is JSON, YAML or TOML."""
    found = body(client_config.snippet(client, settings).text)

    [url] = [found[key] for key in ("url", "serverUrl", "httpUrl", "uri") if key in found]
    assert url == f"http://127.0.0.1:{settings.http_port}/mcp"
    assert any("No controller runs yet" in hint for hint in client_config.snippet(client, settings).hints)


@pytest.mark.parametrize("client", sorted(set(client_config.CLIENTS) - {"codex", "goose"}))
def test_json_is_json_to_the_last_byte(settings: Settings, client: str) -> None:
    """Also for clients that know no comments."""
    json.loads(client_config.snippet(client, settings).text)


def test_the_address_is_that_of_the_running_controller(settings: Settings) -> None:
    """Whatever port it was started with."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with a_fake_controller(settings, port):
            found = client_config.snippet("cursor", settings)

    assert body(found.text)["url"] == f"http://127.0.0.1:{port}/mcp"
    assert not any("No controller" in hint for hint in found.hints)


@pytest.mark.parametrize("client", sorted(set(REMOTE) - {"opencode", "kilo", "vscode"}))
def test_the_variable_the_snippet_names_is_set_by_its_own_line(settings: Settings, client: str) -> None:
    """The line can be pasted into a shell as it is."""
    found = client_config.snippet(client, settings)

    assert shell(found, "OCM_TOKEN") == server.token(settings.home)
    assert "OCM_TOKEN" in json.dumps(body(found.text))


@pytest.mark.parametrize("client", ["opencode", "kilo"])
def test_opencode_is_pointed_to_the_file_and_kept_from_logging_in(settings: Settings, client: str) -> None:
    """A wrong token must not look like a request to log in."""
    found = body(client_config.snippet(client, settings).text)

    assert found["oauth"] is False
    assert found["headers"] == {"Authorization": f"Bearer {{file:{server.token_file(settings.home)}}}"}
    assert server.token_file(settings.home).stat().st_mode & 0o777 == 0o600


def test_vscode_asks_for_the_token_itself(settings: Settings) -> None:
    """The id of what it asks is the one that the header names."""
    found = json.loads(client_config.snippet("vscode", settings).text)

    [asked] = found["inputs"]
    assert asked["password"] is True
    assert found["servers"]["ocm"]["headers"]["Authorization"] == f"Bearer ${{input:{asked['id']}}}"


@pytest.mark.parametrize("client", REMOTE)
def test_a_project_has_a_snippet_for_its_bridge(settings: Settings, with_bridge: int, client: str) -> None:
    """With the address of the bridge and a reference to its own token."""
    found = client_config.snippet(client, settings, "blog-api")

    assert f"http://127.0.0.1:{with_bridge}/mcp" in json.dumps(body(found.text, "ocm-blog-api"))
    assert BRIDGE_TOKEN not in found.text + "".join(found.hints)
    assert any("not running" in hint for hint in found.hints)
    if client != "vscode":
        assert shell(found, "OCM_TOKEN_BLOG_API") == BRIDGE_TOKEN
        assert "OCM_TOKEN_BLOG_API" in found.text


@pytest.mark.usefixtures("with_bridge")
def test_what_has_no_bridge_to_name_is_said(settings: Settings) -> None:
    """An unknown project, with the nearest one, and a client that starts us."""
    with pytest.raises(UserError, match="did you mean blog-api"):
        client_config.snippet("cursor", settings, "blog-apo")
    with pytest.raises(UserError, match="leave --project out"):
        client_config.snippet("zed", settings, "blog-api")


@pytest.mark.parametrize("client", sorted(LOCAL))
async def test_the_command_for_a_client_that_starts_us_serves(settings: Settings, client: str) -> None:
    """From any folder and with hardly any environment."""
    found = body(client_config.snippet(client, settings).text)
    parameters = StdioServerParameters(
        command=found["command"], args=found["args"], env=found["env"], cwd=settings.home.root.parent.parent
    )
    with a_fake_controller(settings):
        async with Client(stdio_client(parameters)) as found_client:
            tools = {tool.name for tool in (await found_client.list_tools()).tools}

    assert "opencode_start" in tools


@pytest.mark.xdist_group("opencode")
def test_the_real_opencode_connects_with_its_snippet(world: World, opencode_program: Path) -> None:
    """It reads the token from the file. The snippet is what the command prints to a file, unchanged."""
    printed = with_controller(world, "opencode")
    config = world.root / "opencode.json"
    config.write_text(printed)
    environment = {"OPENCODE_CONFIG": str(config), "OPENCODE_DISABLE_AUTOUPDATE": "1"}

    shown = client_shows(world, [str(opencode_program), "mcp", "list"], environment)

    assert re.search(r"ocm\W+connected", shown), shown


OTHERS = {
    "claude-code": ("claude", ".mcp.json", ["mcp", "get", "ocm"], r"(?i)connected|pending approval"),
    "codex": ("codex", ".codex/config.toml", ["mcp", "get", "ocm"], r"bearer_token_env_var: OCM_TOKEN"),
    "gemini": ("gemini", ".gemini/settings.json", ["mcp", "list"], r"ocm: http\S+ \(http\) - Connected"),
    "qwen": ("qwen", ".qwen/settings.json", ["mcp", "list"], r"ocm: http\S+ \(http\) - Connected"),
}
"""Program, file, command and what it prints when it has understood the snippet."""


@pytest.mark.parametrize("client", OTHERS)
def test_another_real_client_understands_its_snippet(world: World, client: str) -> None:
    """Only where it is installed: its packages are large and change by the day."""
    program, file, command, wanted = OTHERS[client]
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"cannot try the snippet of {client}: {program} is not on PATH")
    path = world.root / file
    printed = with_controller(world, client)
    path.parent.mkdir(exist_ok=True)
    path.write_text(printed)

    shown = client_shows(
        world, [found, *command], {"OCM_TOKEN": server.token(world.home), "GEMINI_CLI_TRUST_WORKSPACE": "true"}
    )

    assert re.search(wanted, shown), shown


def with_controller(world: World, client: str) -> str:
    """Start a controller; the snippet that the command prints then, and nothing else of it."""
    world.start()
    world.until(lambda: (index := published.read(world.home)).controller and index.controller.http_port, "the endpoint")
    command = world.command("mcp-config", "--client", client)
    done = subprocess.run(command, env=world.environment, capture_output=True, text=True, check=True)
    assert "Put this into" in done.stderr
    return done.stdout


def client_shows(world: World, command: list[str], environment: dict[str, str]) -> str:
    """What a client prints, without colours. It never shows the token."""
    folders = {name: str(world.root) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **folders, **environment},
        cwd=world.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    shown = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
    assert server.token(world.home) not in shown
    return shown
