"""How clients reach the echo agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reconciler.agents.access import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.access import Access, Terminal, Visit


class EchoAccess:
    """See `agents.base.Access`."""

    kind = "echo"
    package = "tests.support.echo_agent"
    open_request = Request(path="/alive")

    def authorization(self, secret: str) -> Mapping[str, str]:
        return {"x-echo-key": secret}

    def page(self, visit: Visit) -> str | None:  # noqa: ARG002  it has none
        return None

    def terminal(self, visit: Visit) -> Terminal | None:  # noqa: ARG002  it has none
        return None


ACCESS: Final[Access] = EchoAccess()
