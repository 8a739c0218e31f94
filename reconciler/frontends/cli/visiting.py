"""Find the running agent that a person wants to see: what `open` and `attach` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.agents.base import Visit
from reconciler.api import reader
from reconciler.frontends.web.proxy import reach
from reconciler.frontends.web.proxy.answers import Refusal
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.web.proxy.reach import VisitedAgent
    from reconciler.settings import Settings


def running(settings: Settings, name: str, verb: str) -> VisitedAgent:
    """Return an agent that runs, and whose listener is proved to be it. Raises UserError."""
    refuse_unknown(settings, name, verb)
    try:
        return reach.agent(settings, name)
    except Refusal as refusal:
        raise UserError(refusal.sentence) from None


def refuse_unknown(settings: Settings, name: str, verb: str) -> None:
    """Raise UserError where there is no such project."""
    index = published.read(settings.home)
    if name not in index.projects and not reader.has_spec(reader.specs_folder(index, settings), name):
        raise UserError(reader.unknown(index, settings, name, verb))


def visit(found: VisitedAgent, options: Namespace, verb: str) -> Visit:
    """Return what a person wants to see of an agent. Raises UserError."""
    if found.way.repo is None:
        raise UserError(f"cannot {verb} {found.name}: its clone is not on this machine")
    return Visit(
        url=found.way.url,
        secret=found.way.secret,
        repo=found.way.repo,
        session=options.session or "",
        latest=getattr(options, "latest", False),
    )
