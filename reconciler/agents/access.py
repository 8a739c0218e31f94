"""How clients reach an agent: the part of a driver that every bridge loads before anybody connects, so it is light."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

REFUSAL: Final = HTTPStatus.UNAUTHORIZED
"""The status by which an agent must answer a request without credentials."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """An HTTP request to an agent; the engine adds the address, and the credentials if they are due."""

    path: str
    method: str = "GET"
    body: bytes = field(default=b"", repr=False)
    """JSON."""


class Access(Protocol):
    """How clients reach one kind of agent."""

    kind: str
    package: str
    """Python's name of the package that knows the kind."""
    open_request: Request
    """Is refused without credentials (`REFUSAL`) as soon as the server is up, and answered with them."""

    def authorization(self, secret: str) -> Mapping[str, str]:
        """Return the headers, named in small letters, that let a client in."""
