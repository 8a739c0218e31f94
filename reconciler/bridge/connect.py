"""The connection from a program that serves MCP to an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2

from reconciler.agents.base import AgentConnection
from reconciler.engines.local import proved_transport
from reconciler.engines.local.proved_transport import ProvedTransport

if TYPE_CHECKING:
    import asyncio
    import socket

    from reconciler.agents.base import Access
    from reconciler.engines import connection as engines


def connection(project: str, access: Access, way: engines.Connection, stopping: asyncio.Event) -> AgentConnection:
    """Describe the way to an agent for its toolset.

    With a proof, each connection is proved to lead there before anything is sent.

    Args:
        project: its name.
        access: how its kind is reached.
        way: as an engine gives it, to an agent on whose clone tools can work.
        stopping: set when the program ends.
    """
    if way.repo is None:
        raise ValueError("cannot give tools an agent whose clone is not on this machine")
    authorization = access.authorization(way.secret)
    sent = [value.rpartition(" ")[2] for value in authorization.values()]
    return AgentConnection(
        project=project,
        repo=way.repo,
        url=way.url,
        authorization=authorization,
        transport=transport(way),
        stopping=stopping,
        secrets=tuple(dict.fromkeys(filter(None, (*way.hidden, way.secret, *sent)))),
    )


def transport(way: engines.Connection) -> httpx2.AsyncBaseTransport:
    """Return what makes connections to an agent, proved where there is a proof."""
    if way.proof is None:
        return httpx2.AsyncHTTPTransport()
    return ProvedTransport(way.proof, "agent", _port(way))


async def dial(way: engines.Connection) -> socket.socket | None:
    """Return a connection that is proved to lead to an agent, for what speaks no plain HTTP; None: any leads there.

    Raises:
        OSError: nobody is proved to be the agent, or it takes no connection.
    """
    return None if way.proof is None else await proved_transport.dial(way.proof, "agent", _port(way))


def _port(way: engines.Connection) -> int:
    return urlsplit(way.url).port or 0
