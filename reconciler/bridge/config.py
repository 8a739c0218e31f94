"""What one bridge is told by its environment.

Belongs here: the variables, and the sentences that refuse a bad one. Their values are never repeated.
Does not belong here: anything that acts on them.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


class ConfigError(Exception):
    """A variable is missing or wrong. The text is a sentence that begins with "cannot" and shows no value."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One bridge's configuration."""

    project: str
    repo: Path
    """The clone: nobody reaches a file outside it."""
    run_dir: Path
    """Where the agent's run is recorded: whoever listens on its port is sent nothing before that proves it ours."""
    port: int
    agent_host: str
    agent_port: int
    user: str
    token: str = field(repr=False)
    """What MCP clients must send."""
    password: str = field(repr=False)
    """What OpenCode wants from us."""

    @property
    def agent_url(self) -> str:
        """Base URL of the OpenCode server."""
        return f"http://{self.agent_host}:{self.agent_port}"

    @property
    def basic(self) -> str:
        """The value of the Authorization header for OpenCode."""
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be printed or returned."""
        return self.token, self.password, self.basic.removeprefix("Basic ")


def from_environment(environment: Mapping[str, str]) -> Config:
    """The configuration.

    Raises:
        ConfigError: a variable is missing or wrong.
    """
    token = _required(environment, "MCP_TOOL_BEARER_TOKEN")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("cannot start the bridge: MCP_TOOL_BEARER_TOKEN must be printable ASCII without spaces")
    host, port = _agent(_required(environment, "OPENCODE_URL"))
    return Config(
        project=environment.get("OCM_PROJECT") or "project",
        repo=_folder(environment, "OCM_REPO", "clone"),
        run_dir=_folder(environment, "OCM_RUN", "agent's run folder"),
        port=_port(_required(environment, "MCP_TOOL_PORT")),
        agent_host=host,
        agent_port=port,
        user=environment.get("OPENCODE_SERVER_USERNAME") or "opencode",
        token=token,
        password=_required(environment, "OPENCODE_SERVER_PASSWORD"),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    if value := environment.get(name):
        return value
    raise ConfigError(f"cannot start the bridge: set {name} in its environment")


def _agent(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = None
    # Plain HTTP with a password is for loopback only; a path, a query or a user name would be silently dropped.
    if port is None or url.rstrip("/") not in {f"http://127.0.0.1:{port}", f"http://localhost:{port}"}:
        raise ConfigError("cannot start the bridge: OPENCODE_URL must look like http://127.0.0.1:4101")
    return "127.0.0.1", port


def _port(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise ConfigError("cannot start the bridge: MCP_TOOL_PORT must be a port number from 1 to 65535")


def _folder(environment: Mapping[str, str], name: str, what: str) -> Path:
    path = Path(_required(environment, name))
    if path.is_absolute():
        return path
    raise ConfigError(f"cannot start the bridge: {name} must be the absolute path of the {what}")
