"""Check spec files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core import names, spec
from reconciler.settings import UserError
from reconciler.specs import spec_folder, yaml_reader
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("Exit code 1: one of them cannot be accepted.", "validate", "validate specs/blog-api.yaml")
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="files or folders of them (default: the specs folder)"
    )


def run(settings: Settings, options: Namespace) -> int:
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
