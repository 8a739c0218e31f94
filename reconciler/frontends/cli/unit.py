"""The unit by which systemd runs the controller for one user. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME: Final = "opencode-manager.service"
PASSED_ON: Final = ("PATH", "LANG", "ENVIRONMENT")
"""Variables of the one who installs it that the controller gets, besides its own `OPENCODE_MANAGER_...`."""
_PREFIX: Final = "OPENCODE_MANAGER_"
_TEXT: Final = """\
# Written by: opencode-manager service install. It may be edited, and is kept until the next install.
[Unit]
Description=OpenCode Manager: runs coding agents as their specs say
StartLimitIntervalSec=0

[Service]
ExecStart={command}
{environment}
# Agents outlive the controller: only its own process is ended with it, and an agent that is killed ends nobody else.
KillMode=process
OOMPolicy=continue
# It fails where its home cannot be used yet, and is then tried again.
Restart=always
RestartSec=2
TimeoutStopSec=30
# The cgroup of each agent is the controller's to make.
Delegate=yes

[Install]
WantedBy=default.target
"""


def text(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the unit.

    Args:
        command: that runs the controller.
        environment: of the one who installs it.
    """
    kept = {name: environment[name] for name in sorted(environment) if name in PASSED_ON or name.startswith(_PREFIX)}
    lines = "\n".join(f"Environment={quoted(f'{name}={value}')}" for name, value in kept.items())
    return _TEXT.format(command=" ".join(quoted(word, command=True) for word in command), environment=lines)


def quoted(word: str, *, command: bool = False) -> str:
    """Return a word as systemd reads it back: in quotes, with its own special characters doubled.

    Args:
        word: what is meant.
        command: of a command line, where a dollar sign begins a variable.

    Raises:
        ValueError: it has a line break, which no unit can hold.
    """
    if not word.isprintable():
        raise ValueError("it has a character that no unit can hold")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped.replace("$", "$$") if command else escaped}"'
