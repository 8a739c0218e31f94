"""The table of commands: a row each. A command's module is loaded only when that command is given.

A module in `commands/` has `arguments(parser)`, which says what may follow the command, and `run(settings, options)`,
which returns the exit code. What a row says is needed before that module is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reconciler import settings


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command."""

    name: str
    group: str
    """Under which heading the help lists it."""
    summary: str
    """What it does, in a clause."""
    module: str = ""
    """In `commands/`; empty: named like the command."""
    writes: bool = False
    """Whether it may write below the home, or run programs there: refused in the home of another user."""
    stays: bool = False
    """Whether it may be the first process of a container."""
    needed: frozenset[str] = frozenset()
    """Variables whose wrong values are errors for it; any other gives way to its default."""

    @property
    def place(self) -> str:
        """Return the name of its module."""
        return self.module or self.name.replace("-", "_")


_ALL: Final = settings.ALL_VARIABLES
_PORT: Final = frozenset({settings.PORT_VARIABLE})
_RANGES: Final = frozenset({settings.AGENT_PORTS_VARIABLE, settings.BRIDGE_PORTS_VARIABLE})

_RUN: Final = "run"
_CHANGE: Final = "change projects"
_VISIT: Final = "work with an agent"
_SHOW: Final = "show projects"
_CHECK: Final = "check"

COMMANDS: Final = (
    Command(name="init", group=_RUN, summary="set everything up the first time", writes=True, needed=_ALL),
    Command(
        name="run",
        group=_RUN,
        summary="run the controller, which reconciles projects with their specs",
        writes=True,
        stays=True,
        needed=_ALL,
    ),
    Command(
        name="mcp",
        group=_RUN,
        summary="serve the MCP tools on stdin and stdout",
        writes=True,
        stays=True,
        needed=_ALL,
    ),
    Command(
        name="mcp-config",
        group=_RUN,
        summary="print the configuration for an MCP client",
        writes=True,
        needed=_PORT,
    ),
    Command(
        name="service",
        group=_RUN,
        summary="let your systemd run the controller, from boot on",
        writes=True,
        needed=_ALL,
    ),
    Command(name="start", group=_CHANGE, summary="start projects", writes=True),
    Command(name="stop", group=_CHANGE, summary="stop projects and keep everything", writes=True),
    Command(name="restart", group=_CHANGE, summary="restart agent and bridge of projects", writes=True),
    Command(name="destroy", group=_CHANGE, summary="stop projects and move their sandboxes to the trash", writes=True),
    Command(name="answer", group=_CHANGE, summary="answer what an agent asks", writes=True),
    Command(name="set", group=_CHANGE, summary="set values in specs", writes=True),
    Command(name="edit", group=_CHANGE, summary="edit a spec in your editor", writes=True),
    Command(
        name="secrets",
        module="set_secrets",
        group=_CHANGE,
        summary="set the secrets of a project, outside any chat",
        writes=True,
    ),
    Command(
        name="confirm-missing",
        group=_CHANGE,
        summary="confirm that spec files are missing on purpose",
        writes=True,
    ),
    Command(
        name="open",
        group=_VISIT,
        summary="open the agent's own web page, without any password",
        writes=True,
        needed=_PORT,
    ),
    Command(name="attach", group=_VISIT, summary="attach the agent's own terminal program", writes=True),
    Command(name="list", group=_SHOW, summary="list projects, desired and actual side by side"),
    Command(name="status", group=_SHOW, summary="show all projects, or some in full"),
    Command(name="describe", group=_SHOW, summary="show everything about projects, for a bug report"),
    Command(name="needs", group=_SHOW, summary="show what waits for you: permissions, questions, keys, secrets"),
    Command(name="wait", group=_SHOW, summary="wait until projects are ready, stopped, or in some condition"),
    Command(name="top", group=_SHOW, summary="show memory, processor time and tasks of projects"),
    Command(name="get", group=_SHOW, summary="print specs"),
    Command(name="events", group=_SHOW, summary="show what happened: what changed, why, and by whom"),
    Command(
        name="env",
        group=_SHOW,
        summary="show what the agent of a project is given",
        writes=True,  # it reads secrets
        needed=_ALL,
    ),
    Command(
        name="exec",
        group=_SHOW,
        summary="run a command as the agent of a project would",
        writes=True,
        needed=_ALL,
    ),
    Command(name="logs", group=_SHOW, summary="show what a service printed"),
    Command(name="doctor", group=_CHECK, summary="check everything that agents need, with the fix", needed=_ALL),
    Command(
        name="plan",
        group=_CHECK,
        summary="show what the controller would do now",
        writes=True,  # it writes nothing, but reads secrets and runs git there
        needed=_ALL,
    ),
    Command(name="diff", group=_CHECK, summary="show how specs on disk differ from those in force"),
    Command(
        name="validate", group=_CHECK, summary="check spec files, for the CI of a specs repository", needed=_RANGES
    ),
    Command(name="completion", group=_CHECK, summary="print the completion script of a shell"),
    Command(name="schema", group=_CHECK, summary="print the JSON Schema of a spec file, for editors"),
)
"""In the order in which the help lists them."""

BY_NAME: Final = {command.name: command for command in COMMANDS}
HELP: Final = Command(name="help", group="", summary="show this, or how to use a command")
