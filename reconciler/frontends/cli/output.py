"""Print data in the formats that programs read: JSON, JSON lines, YAML, names."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOR_PEOPLE: Final = frozenset({"table", "wide"})


def text(form: str, records: Sequence[Mapping[str, Any]], *, alone: bool = False, key: str = "name") -> str:
    """Return the records in one of the formats for programs.

    Args:
        form: json, jsonl, yaml or name.
        records: what to print, safe to show.
        alone: the one record, not a list of one.
        key: where a record has its name.
    """
    data = json.loads(json.dumps([dict(record) for record in records]))  # YAML knows no enum, nor tuple
    match form:
        case "name":
            return "\n".join(str(record[key]) for record in data)
        case "jsonl":
            return "\n".join(json.dumps(record) for record in data)
        case "yaml":
            dumped: str = importlib.import_module("reconciler.specs.yaml_writer").dump(data[0] if alone else data)
            return dumped.removesuffix("\n")
        case _:
            return json.dumps(data[0] if alone else data, indent=2)


def show(form: str, records: Sequence[Mapping[str, Any]], *, alone: bool = False, key: str = "name") -> None:
    """Print that. No record prints nothing where a line is a record."""
    if records or form not in {"name", "jsonl"}:
        print(text(form, records, alone=alone, key=key))
