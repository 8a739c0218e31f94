"""What frontends get from the engine of a project: connections, logs and secrets. Nothing here acts on a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.engines import registry
from reconciler.engines.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from reconciler.core.findings import Finding
    from reconciler.core.observed import Service
    from reconciler.engines.base import Given, ProjectCommand, Secrets, Usage
    from reconciler.settings import Settings

__all__ = [
    "Connection",
    "command",
    "connect",
    "disk",
    "findings",
    "given",
    "holds",
    "logs",
    "prepare",
    "program",
    "secrets",
    "set_secrets",
    "usage",
]


def prepare() -> None:
    """Begin what the engine of a controller in this process takes long for."""
    registry.prepare()


def connect(settings: Settings, name: str, service: Service) -> Connection | None:
    """Return how a service is spoken to, or None where it does not run or its listener is not proved to be it."""
    return registry.access(settings).connect(name, service)


def program(settings: Settings, name: str, names: Collection[str]) -> str:
    """Return the path of the program that a project's agent runs, if it is called one of `names`; else empty."""
    return registry.access(settings).program(name, names)


def logs(
    settings: Settings, name: str, service: Service, *, lines: int, follow: bool = False
) -> Generator[bytes, None, None]:
    """Yield the last lines of what a service printed, and with `follow` what is added; see `engines.base.Access`."""
    return registry.access(settings).logs(name, service, lines=lines, follow=follow)


def usage(settings: Settings, name: str, service: Service, *, pss: bool = False) -> Usage | None:
    """Return what the whole tree of a service uses; None where it does not run or its engine cannot tell."""
    return registry.access(settings).usage(name, service, pss=pss)


def disk(settings: Settings, name: str) -> int | None:
    """Return the bytes that a project's files take; it takes long where they are many."""
    return registry.access(settings).disk(name)


def holds(settings: Settings, name: str) -> bool:
    """Return whether the engine holds anything of a project."""
    return name in registry.access(settings).names()


def findings(settings: Settings) -> tuple[Finding, ...]:
    """Return what `doctor` says about where projects run."""
    return registry.access(settings).findings()


def secrets(settings: Settings, name: str) -> Secrets:
    """Return which secrets a project has and which cannot be used, without any value."""
    return registry.access(settings).secrets(name)


def set_secrets(settings: Settings, name: str | None, values: Mapping[str, str]) -> str:
    """Keep these secrets of a project, or of all projects; return where, for people.

    Raises:
        UserError: a key cannot be used; those that are there cannot be read, or not be changed without changing more.
        OSError: they cannot be written.
    """
    return registry.access(settings).set_secrets(name, values)


def given(settings: Settings, name: str) -> Given:
    """Return what a project's agent is given, without any secret. Raises UserError."""
    return registry.access(settings).given(name)


def command(settings: Settings, name: str, argv: Sequence[str]) -> ProjectCommand:
    """Return how a program runs in the world of a project's agent. Raises UserError."""
    return registry.access(settings).command(name, argv)
