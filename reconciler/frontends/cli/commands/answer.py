"""Answer what waits for a person."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from reconciler.api import inbox
from reconciler.core.history import Author, Via
from reconciler.system import users

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "The first answer counts. Exit code 0: the agent has it, 1: it does not; the sentence says who was first.",
        "answer blog-api 1f3a9c20 once",
        "answer blog-api 1f3a9c20 deny use the staging database",
        "answer blog-api 77b0c1d2 'Blue'",
    )
    parser.add_argument("name", metavar="NAME", help="the project")
    parser.add_argument("need", metavar="ID", help="of what is answered, as `needs` shows it")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="ANSWER",
        help="once, always, deny (and why), resume, or to a question: an option, its number, or a text",
    )


def run(settings: Settings, options: Namespace) -> int:
    """Write the answer, and wait until the agent has it."""
    author = Author(Via.CLI, users.name_of(os.getuid()), "answer")
    record = asyncio.run(inbox.answer(settings, options.name, options.need, options.words, author))
    print(f"{record.project}: answered ({record.said})")
    return 0
