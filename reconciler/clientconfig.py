"""What is put into an MCP client's configuration to find us: a reference to the token, never the token.

Belongs here: one snippet a client, in its own format. Does not belong here: writing anybody's configuration.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Final

from reconciler import published, server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.settings import Settings

NAME: Final = "ocm"
"""Short, because clients put it before the name of each tool."""
VARIABLE: Final = "OCM_TOKEN"


def snippet(client: str, settings: Settings) -> str:
    """The configuration for one client, with a comment where it goes and what must be set."""
    return _SNIPPETS[client](settings)


def _url(settings: Settings) -> str:
    index = published.read(settings.home)
    port = index.controller.http_port if index.running and index.controller else settings.http_port
    return f"http://127.0.0.1:{port or settings.http_port}/mcp"


def _export(settings: Settings) -> str:
    server.token(settings.home)
    return f'export {VARIABLE}="$(cat {shlex.quote(str(server.token_file(settings.home)))})"'


def _stdio(settings: Settings) -> dict[str, object]:
    program = shutil.which("opencode-manager")
    command, arguments = (program, []) if program else (sys.executable, ["-m", "reconciler"])
    environment = {"OPENCODE_MANAGER_HOME": str(settings.home.root), "OPENCODE_MANAGER_SPECS": str(settings.specs)}
    if settings.development:
        environment["ENVIRONMENT"] = "development"
    return {"command": command, "args": [*arguments, "mcp"], "env": environment}


def _claude_code(settings: Settings) -> str:
    body = {"type": "http", "url": _url(settings), "headers": {"Authorization": f"Bearer ${{{VARIABLE}}}"}}
    return _json(f"# .mcp.json of your project. In the shell you start claude from:\n#   {_export(settings)}", body)


def _claude_desktop(settings: Settings) -> str:
    return _json("# claude_desktop_config.json (it starts us itself, so it needs no token)", _stdio(settings))


def _cursor(settings: Settings) -> str:
    body = {"url": _url(settings), "headers": {"Authorization": f"Bearer ${{env:{VARIABLE}}}"}}
    return _json(f"# ~/.cursor/mcp.json. In the shell you start cursor from:\n#   {_export(settings)}", body)


def _json(comment: str, body: Mapping[str, object]) -> str:
    return f"{comment}\n{json.dumps({'mcpServers': {NAME: body}}, indent=2)}"


def _opencode(settings: Settings) -> str:
    server.token(settings.home)
    body = {
        "type": "remote",
        "url": _url(settings),
        # Without this a wrong token looks like a request to log in.
        "oauth": False,
        "headers": {"Authorization": f"Bearer {{file:{server.token_file(settings.home)}}}"},
    }
    return f"# opencode.json\n{json.dumps({'mcp': {NAME: body}}, indent=2)}"


def _codex(settings: Settings) -> str:
    lines = [f"[mcp_servers.{NAME}]", f'url = "{_url(settings)}"', f'bearer_token_env_var = "{VARIABLE}"']
    return "\n".join([f"# ~/.codex/config.toml. In the shell you start codex from:\n#   {_export(settings)}", *lines])


_SNIPPETS: Final[dict[str, Callable[[Settings], str]]] = {
    "claude-code": _claude_code,
    "claude-desktop": _claude_desktop,
    "cursor": _cursor,
    "opencode": _opencode,
    "codex": _codex,
}
CLIENTS: Final = tuple(_SNIPPETS)
