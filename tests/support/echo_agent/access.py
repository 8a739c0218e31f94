"""How clients reach the echo agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reconciler.agents.access import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.access import Access


class EchoAccess:
    """See `agents.base.Access`."""

    kind = "echo"
    package = "tests.support.echo_agent"
    open_request = Request(path="/alive")

    def authorization(self, secret: str) -> Mapping[str, str]:
        return {"x-echo-key": secret}


ACCESS: Final[Access] = EchoAccess()
