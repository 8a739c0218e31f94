"""How clients reach an OpenCode."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from reconciler.agents.access import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.access import Access


KIND: Final = "opencode"
USER: Final = "opencode"
"""Of the basic authentication."""
LIVE_PATH: Final = "/global/health"
"""Answers 200 as soon as the server is up; without the password 401."""


class OpenCodeAccess:
    """See `agents.base.Access`."""

    kind = KIND
    package = "reconciler.agents.opencode"
    open_request = Request(path=LIVE_PATH)

    def authorization(self, secret: str) -> Mapping[str, str]:
        """Return basic authentication."""
        pair = f"{USER}:{secret}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}


ACCESS: Final[Access] = OpenCodeAccess()
