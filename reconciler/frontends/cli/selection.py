"""Which projects a command is about: names, patterns of them, all, and labels."""

from __future__ import annotations

import importlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from reconciler.api import reader
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.settings import Settings
    from reconciler.state.published import Index

WILD: Final = frozenset("*?[")
"""What makes a name a pattern."""


def chosen(settings: Settings, options: Namespace, verb: str) -> list[str]:
    """Return the names that the options choose, each once; all where they choose nothing.

    A name without a pattern is not checked here.

    Args:
        settings: where.
        options: as `flags.projects` has added them.
        verb: of the command, for sentences.

    Raises:
        UserError: a pattern, or a label, is no project's.
    """
    asked = [*options.names]
    index = published.read(settings.home)
    known = reader.known(index, settings)
    if options.all or not asked:
        asked = known
    names = _once(name for each in asked for name in _matches(each, known, verb))
    for label in options.labels:
        names = [name for name in names if has_label(_labels(index, settings, name), label)]
    if options.labels and not names:
        raise UserError(f"cannot {verb} projects with the label {' and '.join(options.labels)}: there are none")
    return names


def existing(settings: Settings, options: Namespace, verb: str) -> list[str]:
    """Return the same names, each checked. Raises UserError: one is no project's."""
    names, index = chosen(settings, options, verb), published.read(settings.home)
    known = {*reader.known(index, settings)} if options.names else {*names}
    for name in names:
        if name not in known:
            raise UserError(reader.unknown(index, settings, name, verb))
    return names


def one_by_name(options: Namespace) -> bool:
    """Tell whether exactly one project was named, so that it is shown alone."""
    return len(options.names) == 1 and not WILD & set(options.names[0]) and not options.labels and not options.all


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Tell whether labels are as wanted: `key`, `key=value` or `key!=value`."""
    key, unequal, value = wanted.partition("!=")
    if unequal:
        return labels.get(key) != value
    key, equal, value = wanted.partition("=")
    return labels.get(key) == value if equal else key in labels


def _matches(asked: str, known: Sequence[str], verb: str) -> list[str]:
    if not WILD & set(asked):
        return [asked]
    found = [name for name in known if fnmatchcase(name, asked)]
    if not found:
        listed = f"there are {', '.join(known[:10])}" if known else "there are no projects yet"
        raise UserError(f"cannot {verb} {asked!r}: no project has such a name; {listed}")
    return found


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _labels(index: Index, settings: Settings, name: str) -> Mapping[str, str]:
    """Return the labels as published; of a project that the controller has not seen, as its spec has them."""
    status: Mapping[str, Any] | None = index.projects.get(name)
    if status is not None:
        return dict(status.get("labels", {}))
    specs = importlib.import_module("reconciler.specs.spec_folder")
    found = specs.read_now(reader.specs_folder(index, settings), name)
    return dict(found.spec.labels) if isinstance(found, specs.Accepted) else {}
