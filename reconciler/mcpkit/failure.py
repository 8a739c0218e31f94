"""How the function behind a tool says that it cannot do what was asked."""

from __future__ import annotations

import httpx2


class ToolFailureError(Exception):
    """What was asked cannot be done. The text is a sentence that begins with "cannot" and may be shown to a model."""


class NothingSentError(httpx2.ConnectError):
    """A connection was given up before anything was sent. The text is a clause that says why."""
