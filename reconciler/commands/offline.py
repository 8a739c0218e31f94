"""Commands that need no controller: what would be done, and whether specs are right."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler import names, published, reader, run, spec, specfiles
from reconciler.plan import Plan
from reconciler.settings import UserError

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from reconciler.settings import Settings


def plan(settings: Settings, options: Namespace) -> int:
    """Actions with their causes, project by project."""
    folder = reader.specs_folder(published.read(settings.home), settings)
    if folder != settings.specs:
        print(f"note: these are the specs of the running controller, in {folder}", file=sys.stderr)
    plans = run.dry_run(replace(settings, specs=folder), options.names)
    for name, planned in plans.items():
        print(name)
        for line in _lines(planned):
            print(f"  {line}")
    if any(isinstance(planned, str) for planned in plans.values()):
        return 1
    return (
        2 if any(isinstance(planned, Plan) and (planned.actions or planned.hold) for planned in plans.values()) else 0
    )


def _lines(planned: Plan | str) -> list[str]:
    if isinstance(planned, str):
        return [planned]
    width = max((len(action.text) for action in planned.actions), default=0)
    lines = [f"{action.text:<{width}}  because {action.cause}" for action in planned.actions]
    if planned.hold:
        lines.append(f"then waits ({planned.hold.reason}): {planned.hold.message}")
    return lines or ["nothing to do"]


def validate(settings: Settings, options: Namespace) -> int:
    """Every problem of every file, each with file and line."""
    paths: list[Path] = options.paths
    if not paths:
        scan = specfiles.scan(settings.specs)
        if not scan.readable:
            raise UserError(scan.problem)
        for warning in scan.warnings:
            print(warning, file=sys.stderr)
        paths = [specfiles.spec_path(settings.specs, name) for name in sorted(scan.files.keys() | scan.unusable.keys())]
    broken = 0
    for path in paths:
        problem = _problem(path)
        print(problem or f"{path.name}: ok")
        broken += bool(problem)
    return 1 if broken else 0


def _problem(path: Path) -> str:
    if path.suffix != specfiles.SUFFIX or not names.valid_name(path.stem):
        return f"cannot use {path}: a spec file is named NAME.yaml, with a name of a-z, 0-9 and inner hyphens"
    found = specfiles.read_now(path.parent, path.stem)
    return found.message if isinstance(found, specfiles.Rejected) else ""


def schema(_settings: Settings, _options: Namespace) -> int:
    """The JSON Schema."""
    print(json.dumps(spec.schema(), indent=2))
    return 0
