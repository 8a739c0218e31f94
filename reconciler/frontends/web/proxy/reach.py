"""Find the agent behind a project's host name, as it is now; or say why nothing is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler import agents
from reconciler.api import engine_access
from reconciler.core import kinds
from reconciler.core.observed import Service
from reconciler.frontends.web.proxy import sessions
from reconciler.frontends.web.proxy.answers import Refusal
from reconciler.state import published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.base import Access
    from reconciler.api.engine_access import Connection
    from reconciler.frontends.web.proxy.sessions import BrowserSessions, Cookie
    from reconciler.settings import Settings


@dataclass(frozen=True, kw_only=True)
class VisitedAgent:
    """An agent that runs, and whose listener was proved to be it a moment ago."""

    name: str
    """Of the project."""
    kind: str
    access: Access
    way: Connection

    @property
    def authorization(self) -> Mapping[str, str]:
        """Headers that let us in."""
        return self.access.authorization(self.way.secret)

    @property
    def authority(self) -> str:
        """Its host and port."""
        return urlsplit(self.way.url).netloc


def agent(settings: Settings, name: str) -> VisitedAgent:
    """Return the agent of a project.

    Raises:
        Refusal: it does not run, or is not proved; says why and what to do.
    """
    index = published.read(settings.home)
    status = index.projects.get(name)
    if status is None:
        raise Refusal(503, f"cannot show {name}: nothing is known of it yet; see opencode-manager status")
    if why := _unready(status):
        text, soon = why
        raise Refusal(503, f"cannot show {name}: {text}", again=soon)
    kind = status.get("kind") or kinds.DEFAULT
    way = engine_access.connect(settings, name, Service.AGENT)
    if way is None or not way.secret:
        raise _not_ours(name)
    access = agents.access_to(kinds.DRIVERS[kind].package)
    return VisitedAgent(name=name, kind=kind, access=access, way=way)


def _not_ours(name: str) -> Refusal:
    return Refusal(
        503, f"cannot show {name}: its agent does not listen now; see opencode-manager status {name}", again=True
    )


def _unready(status: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Return why an agent cannot be reached, and whether that ends by itself; None where it can."""
    name, state, stalled = status["name"], status["agent"]["state"], status["stalled"]
    if status["desired"] != "running":
        return f"its spec says {status['desired']}; start it with: opencode-manager start {name}", False
    if state == "running" and status["agent"]["port"]:
        return None
    if stalled["status"]:
        return f"{stalled['message'] or stalled['reason']}; see opencode-manager status {name}", False
    doing = ": ".join(filter(None, (status["reason"], status["message"])))
    return f"its agent is {state} ({doing})", True


def admitted(known: BrowserSessions, name: str, sent: tuple[str, ...]) -> tuple[Cookie, str]:
    """Return the cookie by which a browser is let in, and its value.

    Raises:
        Refusal: there is none.
    """
    found = [(cookie, value) for value in sent if (cookie := known.known(name, value)) is not None]
    if not found:
        raise locked(name)
    return min(found, key=lambda one: one[0].revoked)


def locked(name: str) -> Refusal:
    """Return what a browser without a valid cookie gets."""
    return Refusal(401, f"cannot let this browser in: open this page with: opencode-manager open {name}")


def check(cookie: Cookie, value: str, found: VisitedAgent) -> None:
    """Check that a cookie is still worth what it was. Raises Refusal."""
    if cookie.revoked or not sessions.bound(cookie, value, found.way.secret):
        raise locked(found.name)
