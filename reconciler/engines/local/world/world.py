"""Build the environment of an agent from the controller's own, the user's settings, the spec and the `.env`.

Everything that runs for a project runs in this one world: the agent, the manager's git for it, `opencode-manager exec`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from reconciler.agents.base import LaunchError, LeftOut
from reconciler.engines.local.world import shell_path, tools
from reconciler.engines.local.world.shell_path import ShellPath
from reconciler.settings import UserError
from reconciler.system.held_folder import held

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.base import Handed
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
    SHELL = "agent.path, the controller, your login shell"
    TOOL = "a folder of yours"


LACKING: Final = "the agent does not get"
"""Begins a warning about what is left out."""


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
class World:
    """What one project's agent is given."""

    variables: tuple[Variable, ...]
    """Each name once."""
    files: tuple[Handed, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    copies: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """What `install` writes, by its path below the sandbox."""

    def environment(self) -> dict[str, str]:
        """Return the variables as a process gets them."""
        return as_environment(self.variables)

    def summary(self, name: str) -> str:
        """Return how much is handed over and left out, for people."""
        counts = f"{len(self.variables)} variables and {len(self.files)} files of yours"
        left = f"; {len(self.left_out)} left out" if self.left_out else ""
        return f"{counts}{left} (all of them: opencode-manager env {name})"

    def warnings(self) -> tuple[str, ...]:
        """Return one line about what is left out, where the agent may not work without it."""
        missing = [one for one in self.left_out if one.matters]
        if not missing:
            return ()
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        return (f"{LACKING} {missing[0].what}: {missing[0].why}{more}",)


def variables(project: LaunchContext) -> tuple[Variable, ...]:
    """Return the environment of a project's agent.

    Later wins: what the manager and the driver set is nobody else's to set, and a secret wins over a value in the spec.

    Raises:
        UserError: something that the user set cannot be used.
    """
    sandbox, found, environment = project.sandbox, dict[str, Variable](), project.settings.environment

    def add(origin: str, values: Mapping[str, str], *, secret: bool = False) -> None:
        found.update(
            {name: Variable(name=name, value=value, origin=origin, secret=secret) for name, value in values.items()}
        )

    shell = shell_path.known(project.settings) or ShellPath()
    add(Origin.CONTROLLER, inherited(environment, (*PASSED_ON, *PROXIES, *AUTHORITIES)))
    add(Origin.TOOL, tools.installed(environment))
    add(Origin.SPEC, project.spec.agent.env)
    for name, key in project.env.agent_secrets.items():
        add(str(key.file), {name: key.value}, secret=True)
    first = tuple(_expanded(folder, environment) for folder in project.spec.agent.path)
    add(Origin.SHELL, {"PATH": shell_path.merged(first, environment.get("PATH", ""), shell)})
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
    return tuple(found.values())


def build(project: LaunchContext) -> World:
    """Return the world of a project's agent: looks at many files of the user's. Raises UserError, as `variables`."""
    given, shell = variables(project), shell_path.known(project.settings) or ShellPath()
    have = tools.found(project.settings.environment, project.sandbox.path)
    handed, left_out = project.driver.handed(project.place, {variable.name for variable in given})
    files = (*handed, *project.git.handed, *have.files)
    missing = {one.what: one for one in (*have.left_out, *project.git.left_out, *left_out, *_without_shell(shell))}
    return World(
        variables=given,
        files=files,
        left_out=tuple(one for what, one in missing.items() if what not in {str(file.source) for file in files}),
        copies=have.copies,
    )


def as_environment(given: tuple[Variable, ...]) -> dict[str, str]:
    """Return variables as a process gets them."""
    return {variable.name: variable.value for variable in given}


def install(project: LaunchContext) -> World:
    """Write what the agent must find in its home, before it starts, and return its world. Blocking.

    Raises:
        UserError: something that the user set cannot be used.
    """
    world = build(project)
    for name, data in world.copies.items():
        *folders, last = name.split("/")
        with contextlib.suppress(OSError), held(project.sandbox.path, *folders) as folder:
            if folder.read(last, len(data) + 1) != data:
                folder.replace(last, data)
    return world


def _expanded(folder: str, environment: Mapping[str, str]) -> str:
    """Return a folder of `agent.path`, in which `~` is the user's home, not the agent's."""
    return f"{environment.get('HOME') or '/'}/{folder[2:]}" if folder.startswith("~/") else folder


def _without_shell(shell: ShellPath) -> tuple[LeftOut, ...]:
    if not shell.problem:
        return ()
    why = f"{shell.problem}; add what is missing with agent.path in the spec"
    return (LeftOut(what="the PATH of your login shell", why=why, matters=True),)


def inherited(environment: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Return those of the controller's variables that are set."""
    return {name: environment[name] for name in names if name in environment}
