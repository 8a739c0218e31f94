"""Compare the spec on disk with the one in force, which the controller has accepted last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.api import drafts, reader
from reconciler.core import spec
from reconciler.core.spec import SpecError
from reconciler.settings import UserError
from reconciler.specs import spec_folder, yaml_writer
from reconciler.specs.spec_folder import Rejected
from reconciler.state import ledger_data, published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How one project differs."""

    text: str = ""
    """A unified diff from what is in force to what is on disk; empty where they mean the same."""
    problem: str = ""
    """Why there is no comparison: a sentence that begins with "cannot"."""


def of(settings: Settings, name: str) -> Difference:
    """Compare one project.

    Raises:
        UserError: there is no such project.
    """
    index = published.read(settings.home)
    folder = reader.specs_folder(index, settings)
    accepted = in_force(settings, name)
    if reader.has_spec(folder, name):
        found = spec_folder.read_now(folder, name)
        if isinstance(found, Rejected):
            return Difference(problem=found.message)
        if accepted is None and index.projects.get(name, {}).get("spec_digest") == found.spec.digest():
            return Difference()  # of a project that never ran nothing is kept but this
        wanted = _text(found.spec.model_dump(mode="json", exclude_defaults=True))
    elif accepted is None:
        raise UserError(reader.unknown(index, settings, name, "compare"))
    else:
        wanted = ""
    before = "" if accepted is None else _text(accepted)
    return Difference(text=drafts.unified(before, wanted, f"{name} in force", str(drafts.path_of(folder, name))))


def in_force(settings: Settings, name: str) -> Mapping[str, Any] | None:
    """Return the spec that was accepted last, as plain data without defaults; None where none was."""
    try:
        kept = ledger_data.read(settings.home.sandbox(name).ledger.read_bytes()).ledger.spec
        return spec.parse(spec.known_keys(kept)).model_dump(mode="json", exclude_defaults=True) if kept else None
    except (OSError, SpecError):
        return None


def _text(data: Mapping[str, Any]) -> str:
    return yaml_writer.dump(dict(data))
