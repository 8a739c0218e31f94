"""Configuration snippets for MCP clients: a reference to the token, never the token.

Clients that cannot refer to a secret start our stdio server instead, which needs no token.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from reconciler.api import engine_access
from reconciler.core import env_keys
from reconciler.frontends.mcp import addresses, server
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.settings import Settings

NAME: Final = "ocm"
"""Short, because clients put it before the name of each tool."""
LONGEST_NAME: Final = 32
"""Characters of a server's name: with a tool's and what a client puts around them they may be 64."""
VARIABLE: Final = "OCM_TOKEN"

Body = dict[str, Any]


class Server(NamedTuple):
    """An endpoint as the client knows it."""

    name: str
    url: str
    variable: str
    """Of the environment, for the token."""
    read: str
    """The shell command that prints the token."""
    file: Path | None
    """The file that holds the token and nothing else."""


class Snippet(NamedTuple):
    """What goes into a file, and the hints for the user beside it."""

    text: str
    hints: tuple[str, ...]


def snippet(client: str, settings: Settings, project: str | None = None) -> Snippet:
    """Return the configuration for one client.

    Args:
        client: one of `CLIENTS`.
        settings: of the home.
        project: the one whose bridge is meant, instead of the controller.

    Raises:
        UserError: there is no address that is ours for certain, or this client cannot be given one.
    """
    if client in _LOCAL:
        if project is not None:
            raise UserError(
                f"cannot give {client} one project: it cannot refer to a token; leave --project out, "
                "which starts the manager's own tools for it"
            )
        place, key = _LOCAL[client]
        hint = "It starts the manager itself, so it needs no token and no address."
        return Snippet(_json({key: {NAME: _command(settings)}}), (f"Put this into {place}.", hint))
    address = addresses.of_controller(settings) if project is None else addresses.of_bridge(settings, project)
    found = _controller(settings, address.url) if project is None else _bridge(settings, address.url, project)
    place, render, command = _REMOTE[client]
    text = render(found)
    hints = [f"Put this into {place}."]
    if "${input:" in text:
        hints.append(f"When it asks for the token, paste what this prints: {found.read}")
    elif "{file:" not in text:
        hints.append(f'In the shell that starts {client}: export {found.variable}="$({found.read})"')
    if command:
        hints.append(f"Or, instead of the file: {command.format(name=found.name, url=found.url, var=found.variable)}")
    return Snippet(text, (*hints, *filter(None, [address.hint])))


def _controller(settings: Settings, url: str) -> Server:
    server.token(settings.home)
    file = server.token_file(settings.home)
    return Server(NAME, url, VARIABLE, f"cat {shlex.quote(str(file))}", file)


def _bridge(settings: Settings, url: str, project: str) -> Server:
    variable = f"{VARIABLE}_{re.sub('[^A-Z0-9]', '_', project.upper())}"
    file = shlex.quote(engine_access.secrets(settings, project).place)
    # The value with no quotes round it and no carriage return after it, as the manager reads it.
    read = f"sed -n 's/^{env_keys.TOKEN}=//p' {file} | tr -d '\\042\\047\\015'"
    return Server(f"{NAME}-{project}"[:LONGEST_NAME].rstrip("-"), url, variable, read, None)


def _command(settings: Settings) -> Body:
    program = shutil.which("opencode-manager")
    command, arguments = (program, []) if program else (sys.executable, ["-m", "reconciler"])
    environment = {"OPENCODE_MANAGER_HOME": str(settings.home.root), "OPENCODE_MANAGER_SPECS": str(settings.specs)}
    if settings.development:
        environment["ENVIRONMENT"] = "development"
    return {"command": command, "args": [*arguments, "mcp"], "env": environment}


def _json(body: Body) -> str:
    return json.dumps(body, indent=2)


def _headers(reference: str) -> Body:
    return {"Authorization": f"Bearer {reference}"}


def _listed(key: str, reference: str, url: str = "url", **more: str) -> Callable[[Server], str]:
    """Return the usual JSON: servers by name, each with an address and headers."""

    def render(one: Server) -> str:
        body = {**more, url: one.url, "headers": _headers(reference.replace("VAR", one.variable))}
        return _json({key: {one.name: body}})

    return render


def _opencode(one: Server) -> str:
    reference = f"{{file:{one.file}}}" if one.file else f"{{env:{one.variable}}}"
    # Without `oauth` a wrong token looks like a request to log in.
    body = {"type": "remote", "url": one.url, "oauth": False, "headers": _headers(reference)}
    return _json({"mcp": {one.name: body}})


def _vscode(one: Server) -> str:
    secret = f"{one.name}-token"
    asked = {"type": "promptString", "id": secret, "description": f"Token of {one.name}", "password": True}
    body = {"type": "http", "url": one.url, "headers": _headers(f"${{input:{secret}}}")}
    return _json({"inputs": [asked], "servers": {one.name: body}})


def _codex(one: Server) -> str:
    return f'[mcp_servers.{one.name}]\nurl = "{one.url}"\nbearer_token_env_var = "{one.variable}"'


def _goose(one: Server) -> str:
    body = {
        "name": one.name,
        "description": "Coding agents, one in each repository",
        "type": "streamable_http",
        "enabled": True,
        "uri": one.url,
        "headers": _headers(f"${{{one.variable}}}"),
        "env_keys": [one.variable],
        "timeout": 330,  # seconds: longer than the longest wait of a tool
    }
    return yaml.safe_dump({"extensions": {one.name: body}}, sort_keys=False, width=1000).rstrip()


_REMOTE: Final[dict[str, tuple[str, Callable[[Server], str], str]]] = {
    "claude-code": (
        ".mcp.json of your project",
        _listed("mcpServers", "${VAR}", type="http"),
        "claude mcp add --transport http {name} {url} --header 'Authorization: Bearer ${{{var}}}'",
    ),
    "opencode": ("opencode.json", _opencode, ""),
    "codex": (
        "~/.codex/config.toml",
        _codex,
        "codex mcp add {name} --url {url} --bearer-token-env-var {var}",
    ),
    "cursor": ("~/.cursor/mcp.json", _listed("mcpServers", "${env:VAR}"), ""),
    "gemini": (
        "~/.gemini/settings.json",
        _listed("mcpServers", "$VAR", type="http"),
        "gemini mcp add --scope user --transport http --header 'Authorization: Bearer ${var}' {name} {url}",
    ),
    "qwen": (
        "~/.qwen/settings.json",
        _listed("mcpServers", "$VAR", "httpUrl"),
        "qwen mcp add --scope user --transport http --header 'Authorization: Bearer ${var}' {name} {url}",
    ),
    "vscode": (".vscode/mcp.json", _vscode, ""),
    "windsurf": ("~/.codeium/windsurf/mcp_config.json", _listed("mcpServers", "${env:VAR}", "serverUrl"), ""),
    "goose": ("~/.config/goose/config.yaml", _goose, ""),
    "kilo": ("kilo.jsonc", _opencode, ""),
}
"""File, snippet and one-line command of clients that are given an address and a reference to the token."""
_LOCAL: Final = {
    "claude-desktop": ("claude_desktop_config.json", "mcpServers"),
    "cline": ("cline_mcp_settings.json", "mcpServers"),
    "zed": ("settings.json of Zed", "context_servers"),
    "lm-studio": ("mcp.json of LM Studio", "mcpServers"),
}
"""File and key of clients that start us: they have no way to keep a secret out of that file."""
CLIENTS: Final = (*_REMOTE, *_LOCAL)
