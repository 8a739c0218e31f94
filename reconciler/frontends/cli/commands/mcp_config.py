"""Print client configuration for MCP."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.frontends.mcp import client_config

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "Where to put it is printed on stderr.",
        "mcp-config --client claude-code",
        "mcp-config --client codex --project blog-api",
    )
    parser.add_argument("--client", choices=client_config.CLIENTS, required=True)
    parser.add_argument("--project", metavar="NAME", help="the bridge of one project instead of the controller")


def run(settings: Settings, options: Namespace) -> int:
    """Print the snippet for one client on stdout, so that it can be redirected to a file; the hints go to stderr."""
    found = client_config.snippet(options.client, settings, options.project)
    print(found.text)
    for hint in found.hints:
        print(hint, file=sys.stderr)
    return 0
