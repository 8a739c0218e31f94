"""Open an agent's own web page in a browser."""

from __future__ import annotations

import sys
import webbrowser
from typing import TYPE_CHECKING

from reconciler.agents.base import VisitError
from reconciler.api.results import START_CONTROLLER
from reconciler.frontends.cli import visiting
from reconciler.frontends.mcp import addresses
from reconciler.frontends.web import hosts
from reconciler.frontends.web.proxy.sessions import BrowserSessions
from reconciler.settings import UserError
from reconciler.state import published

if TYPE_CHECKING:
    from argparse import Namespace

    from reconciler.frontends.cli.grammar import Parser
    from reconciler.settings import Settings


def arguments(parser: Parser) -> None:
    """Say what may follow."""
    parser.explain(
        "The address that it prints works once, within 60 seconds; at a terminal a browser is opened too. A browser "
        "that does not find NAME.localhost needs a line in /etc/hosts: 127.0.0.1 NAME.localhost",
        "open blog-api",
        "open blog-api --print",
        "open blog-api --revoke",
    )
    parser.add_argument("name", metavar="NAME", help="the project")
    parser.add_argument("-s", "--session", metavar="SESSION", help="go to this session (ses_...)")
    parser.add_argument("--print", action="store_true", help="only print the address")
    parser.add_argument("--revoke", action="store_true", help="let no browser in any more that was let in before")


def run(settings: Settings, options: Namespace) -> int:
    """Print the address, and at a terminal open a browser."""
    name, known = options.name, BrowserSessions(settings.home)
    if options.revoke:
        visiting.refuse_unknown(settings, name, "revoke the browsers of")
        count = known.revoke(name)
        print(f"{count} browser{'s' if count != 1 else ''} of {name} let in before must be let in again")
        return 0
    path = _page(settings, options)
    if not published.read(settings.home).running:
        raise UserError(f"cannot open {name}: no controller is running, which serves its page; {START_CONTROLLER}")
    port = addresses.of_controller(settings).port
    url = f"http://{hosts.host(name)}:{port}/__ocm/enter?code={known.invite(name, path)}"
    print(url, flush=True)
    if sys.stdout.isatty() and not options.print:
        webbrowser.open(known.launcher(name, url).as_uri())
        print("It works once, within a minute. If no browser opens, open it yourself.", file=sys.stderr)
    return 0


def _page(settings: Settings, options: Namespace) -> str:
    """Return the path of the agent's page. Raises UserError."""
    found = visiting.running(settings, options.name, "open")
    try:
        path = found.access.page(visiting.visit(found, options, "open"))
    except VisitError as error:
        raise UserError(f"cannot open session {options.session!r} of {found.name}: {error}") from None
    if path is None:
        raise UserError(f"cannot open {found.name}: agents of kind {found.kind} have no web page of their own")
    return path
