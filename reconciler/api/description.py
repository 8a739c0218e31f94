"""Gather everything about one project that a bug report needs, without a secret."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any, Final

from reconciler import __version__
from reconciler.api import differences, engine_access, history, reader
from reconciler.core import plain_text
from reconciler.mcpkit import redact
from reconciler.mcpkit.redact import HIDDEN
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from reconciler.core.history import HistoryRecord
    from reconciler.engines.base import GivenVariable
    from reconciler.settings import Settings

_SPEC: Final = "agent.env"
"""In the origin of a variable that a spec names."""
EVENTS: Final = 20
"""The newest of them."""


def of(settings: Settings, name: str) -> dict[str, Any]:
    """Return plain data, safe to show and to publish: versions, status, spec, differences, plan and events.

    Raises:
        UserError: there is no such project.
    """
    index = published.read(settings.home)
    status = reader.raw_status(settings, name)
    data = {
        "name": name,
        "versions": {
            "manager": __version__,
            "controller": (index.controller.version if index.running and index.controller else "") or "not running",
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
        "status": dict(status),
        "spec": differences.in_force(settings, name),
        "difference": _difference(settings, name),
        "planned": list(status["planned"]),
        "variables": _variables(settings, name),
        "events": [record.to_dict() for record in events(settings, name)],
        "notes": list(reader.warnings(index)),
    }
    return dict(redact.document(json.loads(json.dumps(plain_text.document(data)))))


def events(settings: Settings, name: str) -> list[HistoryRecord]:
    """Return the newest events of a project, the oldest of them first."""
    return history.latest(settings, history.wanted([name]), EVENTS)


def _variables(settings: Settings, name: str) -> list[str]:
    """Return the variables of the agent, and where each comes from, or why nobody can tell."""
    try:
        given = engine_access.given(settings, name)
    except UserError as error:
        return [str(error)]
    return [f"{each.name}={HIDDEN if _is_private(each) else each.value}  ({each.origin})" for each in given.variables]


def _is_private(variable: GivenVariable) -> bool:
    """Tell whether a value stays here: a secret, or what a spec says, which may hold one by mistake."""
    return variable.secret or _SPEC in variable.origin


def _difference(settings: Settings, name: str) -> list[str]:
    """Return how the spec file differs from the spec in force, or why nobody can tell."""
    found = differences.of(settings, name)
    return (found.problem or found.text).splitlines()
