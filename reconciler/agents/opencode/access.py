"""How clients reach an OpenCode."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from reconciler.agents.access import Request, Terminal, VisitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.access import Access, Visit


KIND: Final = "opencode"
USER: Final = "opencode"
"""Of the basic authentication."""
LIVE_PATH: Final = "/global/health"
"""Answers 200 as soon as the server is up; without the password 401."""
PASSWORD_VARIABLE: Final = "OPENCODE_SERVER_PASSWORD"  # noqa: S105  the name of a variable
"""Read by its server and by its terminal program."""
USER_VARIABLE: Final = "OPENCODE_SERVER_USERNAME"
NO_UPDATE: Final = ("OPENCODE_DISABLE_AUTOUPDATE", "1")
_SESSION: Final = re.compile(r"ses_[A-Za-z0-9]{1,64}")


class OpenCodeAccess:
    """See `agents.base.Access`."""

    kind = KIND
    package = "reconciler.agents.opencode"
    open_request = Request(path=LIVE_PATH)

    def authorization(self, secret: str) -> Mapping[str, str]:
        """Return basic authentication."""
        pair = f"{USER}:{secret}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def page(self, visit: Visit) -> str | None:
        """Return the page of a session, or of the clone. The app knows folders by their base64 (measured)."""
        folder = base64.urlsafe_b64encode(str(visit.repo).encode()).decode().rstrip("=")
        return f"/{folder}/session/{_checked(visit.session)}" if visit.session else f"/{folder}/session"

    def terminal(self, visit: Visit) -> Terminal | None:
        """Return `attach`. Its password has a flag too, which everybody could read."""
        chosen = ("--session", _checked(visit.session)) if visit.session else ("--continue",) if visit.latest else ()
        return Terminal(
            arguments=("attach", visit.url, "--dir", str(visit.repo), *chosen),
            environment={PASSWORD_VARIABLE: visit.secret, USER_VARIABLE: USER, **dict([NO_UPDATE])},
        )


def _checked(session: str) -> str:
    """Return the id of a session. Raises VisitError."""
    if _SESSION.fullmatch(session) is None:
        raise VisitError("the id of a session looks like ses_...")
    return session


ACCESS: Final[Access] = OpenCodeAccess()
