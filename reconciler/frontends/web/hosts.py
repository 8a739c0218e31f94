"""Map project names to the host names under which browsers see them: `NAME.localhost`. Pure, and light.

A host of its own, because agents' pages are relative to the root, and because a browser keeps their storage and
cookies apart then.
"""

from __future__ import annotations

import re
from typing import Final

from reconciler.core.names import NAME_PATTERN, valid_name

OURS: Final = "ocm"
"""The label of our own pages, which no project has."""
DOMAIN: Final = "localhost"
"""Browsers resolve everything below it to this machine by themselves."""

_HOST: Final = re.compile(
    rf"(?P<label>{NAME_PATTERN})(?:\.(?P<first>[a-z0-9]))?\.{DOMAIN}(?::[0-9]{{1,5}})?", re.IGNORECASE
)


def host(name: str) -> str:
    """Return the host name of a project.

    A name that cannot be a label has an alias: `ocm` is ours, and browsers take `xn--` for the beginning of a name in
    another script. Its first letter becomes a label of its own, which no other project's host has.
    """
    return f"{name[1:]}.{name[0]}.{DOMAIN}" if _needs_alias(name) else f"{name}.{DOMAIN}"


def project(sent: str) -> str | None:
    """Return the project that a Host header names; None where it names none. Any port counts: SSH tunnels have others.

    Args:
        sent: the header's value.
    """
    match = _HOST.fullmatch(sent)
    if match is None:
        return None
    name = f"{match['first'] or ''}{match['label']}".lower()
    return name if valid_name(name) and (match["first"] is not None) == _needs_alias(name) else None


def _needs_alias(name: str) -> bool:
    return name == OURS or name.startswith("xn--")
