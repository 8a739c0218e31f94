"""Build the environment of an agent from the controller's own, the user's settings, the spec and the `.env`.

Everything that runs for a project runs in this one world: the agent, the manager's git for it, `opencode-manager exec`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from reconciler.agents.base import LaunchError
from reconciler.settings import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reconciler.engines.local.launch import LaunchContext

PASSED_ON: Final = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TERM",
    "USER",
    "LOGNAME",
    "SHELL",
    "NODE_EXTRA_CA_CERTS",
)
"""Variables of the controller that every service gets."""
PROXIES: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
AUTHORITIES: Final = (
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_PROXY_SSL_CAINFO"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
)
"""Variables that name whom to trust besides: for a program of the agent, and for our git, they win over settings."""


class Origin(StrEnum):
    """Where a part of the world comes from, as `opencode-manager env` shows it."""

    CONTROLLER = "the controller's environment"
    MANAGER = "the manager"
    DRIVER = "the agent's kind"
    SPEC = "agent.env of the spec"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable of the environment."""

    name: str
    value: str = field(repr=False)
    origin: str
    """An `Origin`, or the path of a file."""
    secret: bool = False
    """Whether its value is never shown."""


@dataclass(frozen=True, kw_only=True)
class Handed:
    """A file or folder of the user's that the agent gets."""

    source: Path
    """The user's own."""
    place: Path
    """Where the agent finds it."""
    how: str
    """For people: `link`, `copy`, `read-only`."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Something of the user's that the agent does not get."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class World:
    """What one project's agent is given."""

    variables: tuple[Variable, ...]
    """Each name once."""
    files: tuple[Handed, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return the variables as a process gets them."""
        return {variable.name: variable.value for variable in self.variables}


def build(project: LaunchContext) -> World:
    """Return the world of a project's agent.

    Raises:
        UserError: something that the user set cannot be used.
    """
    sandbox, found = project.sandbox, dict[str, Variable]()

    def add(origin: Origin, values: Mapping[str, str], *, secret: bool = False) -> None:
        found.update(
            {name: Variable(name=name, value=value, origin=origin, secret=secret) for name, value in values.items()}
        )

    add(Origin.CONTROLLER, inherited(project.settings.environment, (*PASSED_ON, *PROXIES, *AUTHORITIES)))
    add(Origin.SPEC, project.spec.agent.env)
    add(
        Origin.MANAGER,
        {
            "HOME": str(sandbox.home),
            "XDG_DATA_HOME": str(sandbox.xdg / "data"),
            "XDG_CONFIG_HOME": str(sandbox.xdg / "config"),
            "XDG_STATE_HOME": str(sandbox.xdg / "state"),
            "XDG_CACHE_HOME": str(sandbox.xdg / "cache"),
            "TMPDIR": str(sandbox.tmp),
            "GIT_SSH_COMMAND": project.ssh_command,
            **project.git.variables,
        },
    )
    try:
        own = project.driver.environment(project.place)
    except LaunchError as error:
        raise UserError(str(error)) from None
    for name, value in own.items():
        add(Origin.DRIVER, {name: value}, secret=value == project.place.secret)
    return World(variables=tuple(found.values()), files=project.git.handed, left_out=project.git.left_out)


def inherited(environment: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Return those of the controller's variables that are set."""
    return {name: environment[name] for name in names if name in environment}
