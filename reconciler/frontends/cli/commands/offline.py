"""Commands that need no controller: `plan`, `validate` and `schema`."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.api import reader
from reconciler.core import names, spec
from reconciler.core.plain_text import LONGEST, plain
from reconciler.core.plan import Plan
from reconciler.settings import UserError
from reconciler.specs import spec_folder, yaml_reader
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from reconciler.settings import Settings


def plan(settings: Settings, options: Namespace) -> int:
    """Print the planned actions with their causes, project by project."""
    folder = reader.specs_folder(published.read(settings.home), settings)
    if folder != settings.specs:
        print(f"note: these are the specs of the running controller, in {folder}", file=sys.stderr)
    plans = importlib.import_module("reconciler.app").plan_projects(replace(settings, specs=folder), options.names)
    for name, planned in plans.items():
        print(name)
        for line in _lines(planned):
            print(f"  {plain(line, LONGEST)}")
    if any(isinstance(planned, str) for planned in plans.values()):
        return 1
    return (
        2 if any(isinstance(planned, Plan) and (planned.actions or planned.hold) for planned in plans.values()) else 0
    )


def _lines(planned: Plan | str) -> list[str]:
    if isinstance(planned, str):
        return planned.splitlines()  # each problem of a spec on a line of its own
    width = max((len(action.text) for action in planned.actions), default=0)
    lines = [f"{action.text:<{width}}  because {action.cause}" for action in planned.actions]
    if planned.hold:
        first, *more = planned.hold.message.splitlines() or [""]
        lines += [f"then waits ({planned.hold.reason}): {first}", *more]
    return lines or ["nothing to do"]


def validate(settings: Settings, options: Namespace) -> int:
    """Print each spec file, and each problem on a line of its own; return 1 where one cannot be accepted."""
    broken = 0
    for path in options.paths or [settings.specs]:
        for file in _specs_in(path) if path.is_dir() or not options.paths else [path]:
            problems = _problems(file, _ports(settings, file.parent))
            print("\n".join(problems) or f"{file.name}: ok")
            broken += bool(problems)
    return 1 if broken else 0


def _specs_in(folder: Path) -> list[Path]:
    """Return the spec files of a folder; print notes about its other entries."""
    scan = spec_folder.scan(folder)
    if not scan.readable:
        raise UserError(scan.problem)
    found = {name: spec_folder.read_now(folder, name) for name in sorted(scan.files.keys() | scan.unusable.keys())}
    others = {
        name: each.message for name, each in found.items() if isinstance(each, spec_folder.Rejected) and each.foreign
    }
    for note in sorted({*scan.warnings, *others.values()}):
        print(f"note: {note}", file=sys.stderr)
    return [spec_folder.spec_path(folder, name) for name in found if name not in others]


def _problems(path: Path, ports: Mapping[str, tuple[int, int]]) -> list[str]:
    if path.suffix != spec_folder.SUFFIX or not names.valid_name(path.stem):
        better = names.nearest_name(path.stem)
        return [f"cannot use {path} as a spec file: one is NAME.yaml, and {names.RULE}; rename it to {better}.yaml"]
    found = spec_folder.read_now(path.parent, path.stem)
    if isinstance(found, spec_folder.Rejected):
        return found.message.splitlines()
    return [yaml_reader.sentence(each, found.lines, path.name) for each in spec.misplaced(found.spec, ports)]


def _ports(settings: Settings, folder: Path) -> Mapping[str, tuple[int, int]]:
    """Return the ranges in force: of the running controller that reads this folder, else of our own settings."""
    index = published.read(settings.home)
    controller = index.controller if index.running else None
    if controller is None or folder.absolute() != Path(controller.specs):
        return settings.ports
    return {**settings.ports, **{service: (first, last) for service, (first, last) in controller.ports.items()}}


def schema(_settings: Settings, _options: Namespace) -> int:
    """Print the JSON Schema."""
    print(json.dumps(spec.schema(), indent=2))
    return 0
