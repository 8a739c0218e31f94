"""The configuration of one bridge, from its environment. No value is ever repeated in a message."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler import agents
from reconciler.core import env_keys, kinds
from reconciler.engines.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.base import Access


class ConfigError(Exception):
    """A variable is missing or wrong. The text is a sentence that begins with "cannot" and shows no value."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One bridge's configuration."""

    project: str
    repo: Path
    """The clone: nobody reaches a file outside it."""
    run_dir: Path
    """Where the agent's run is recorded: a listener on its port is sent nothing until that proves it ours."""
    port: int
    agent_host: str
    agent_port: int
    access: Access
    """How its kind of agent is reached."""
    token: str = field(repr=False)
    """What MCP clients must send."""
    password: str = field(repr=False)
    """What the agent demands of us."""

    @property
    def agent_url(self) -> str:
        """Base URL of the agent."""
        return f"http://{self.agent_host}:{self.agent_port}"

    @property
    def way(self) -> Connection:
        """How the agent is spoken to."""
        hidden = tuple(filter(None, (self.token, self.password)))
        return Connection(url=self.agent_url, secret=self.password, hidden=hidden, proof=self.run_dir, repo=self.repo)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be printed or returned."""
        sent = [value.rpartition(" ")[2] for value in self.access.authorization(self.password).values()]
        return tuple(dict.fromkeys((self.token, self.password, *sent)))


def from_environment(environment: Mapping[str, str]) -> Config:
    """Read the configuration from the environment.

    Raises:
        ConfigError: a variable is missing or wrong.
    """
    token = _required(environment, env_keys.TOKEN)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"cannot start the bridge: {env_keys.TOKEN} must be printable ASCII without spaces")
    host, port = _agent(_required(environment, env_keys.AGENT_URL))
    return Config(
        project=environment.get("OCM_PROJECT") or "project",
        repo=_folder(environment, "OCM_REPO", "clone"),
        run_dir=_folder(environment, "OCM_RUN", "agent's run folder"),
        port=_port(_required(environment, env_keys.BRIDGE_PORT)),
        agent_host=host,
        agent_port=port,
        access=agents.access_to(environment.get("OCM_AGENT") or kinds.DRIVERS[kinds.DEFAULT].package),
        token=token,
        password=_required(environment, env_keys.PASSWORD),
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
        raise ConfigError(f"cannot start the bridge: {env_keys.AGENT_URL} must look like http://127.0.0.1:4101")
    return "127.0.0.1", port


def _port(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise ConfigError(f"cannot start the bridge: {env_keys.BRIDGE_PORT} must be a port number from 1 to 65535")


def _folder(environment: Mapping[str, str], name: str, what: str) -> Path:
    path = Path(_required(environment, name))
    if path.is_absolute():
        return path
    raise ConfigError(f"cannot start the bridge: {name} must be the absolute path of the {what}")
