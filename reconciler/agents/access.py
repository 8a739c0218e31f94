"""How clients reach an agent: the part of a driver that every bridge loads before anybody connects, so it is light."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REFUSAL: Final = HTTPStatus.UNAUTHORIZED
"""The status by which an agent must answer a request without credentials."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """An HTTP request to an agent; the engine adds the address, and the credentials if they are due."""

    path: str
    method: str = "GET"
    body: bytes = field(default=b"", repr=False)
    """JSON."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a person wants to see of a running agent."""

    url: str
    """Of the agent, without a path."""
    secret: str = field(repr=False)
    repo: Path
    """The clone that it works in."""
    session: str = ""
    """Which conversation; empty: none in particular."""
    latest: bool = False
    """The conversation that was used last."""


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """How an agent's own terminal program is run."""

    arguments: tuple[str, ...]
    """What follows the program in argv. Never a secret: argv is public."""
    environment: Mapping[str, str] = field(repr=False)
    """Its own variables, the secret among them."""


class VisitError(Exception):
    """It cannot be shown like this; the text is a clause that says why."""


class Access(Protocol):
    """How clients reach one kind of agent."""

    kind: str
    package: str
    """Python's name of the package that knows the kind."""
    open_request: Request
    """Is refused without credentials (`REFUSAL`) as soon as the server is up, and answered with them."""

    def authorization(self, secret: str) -> Mapping[str, str]:
        """Return the headers, named in small letters, that let a client in."""

    def page(self, visit: Visit) -> str | None:
        """Return the path of its own web page, which is relative to the root of its host; None: it has no page.

        Raises:
            VisitError: it has no such conversation.
        """

    def terminal(self, visit: Visit) -> Terminal | None:
        """Return how its own terminal program is attached to the agent; None: it has none.

        Raises:
            VisitError: it has no such conversation.
        """
