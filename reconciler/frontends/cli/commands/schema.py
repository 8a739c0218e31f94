"""Print the JSON Schema of a spec file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from reconciler.core import spec

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain("", "schema > spec.schema.json")


def run(_settings: Settings, _options: Namespace) -> int:
    """Print the JSON Schema."""
    print(json.dumps(spec.schema(), indent=2))
    return 0
