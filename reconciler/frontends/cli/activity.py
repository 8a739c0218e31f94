"""Ask an agent itself whether it works at anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import httpx2

from reconciler import agents
from reconciler.agents.base import Answer
from reconciler.api import engine_access
from reconciler.bridge.connect import connection
from reconciler.core.observed import Service

if TYPE_CHECKING:
    from reconciler.settings import Settings

_LIMIT: Final = 5.0
"""Seconds for an answer: one that is later is none."""


def is_idle(settings: Settings, name: str, kind: str) -> bool:
    """Tell whether an agent says that it works at nothing. One that does not say counts as busy.

    Args:
        settings: where.
        name: of the project.
        kind: of the agent.
    """
    return asyncio.run(_is_idle(settings, name, kind))


async def _is_idle(settings: Settings, name: str, kind: str) -> bool:
    way = engine_access.connect(settings, name, Service.AGENT)
    if way is None or way.repo is None:
        return False
    driver = agents.driver(kind)
    to = connection(name, driver, way, asyncio.Event())
    request = driver.ready_request
    try:
        async with httpx2.AsyncClient(headers=to.authorization, transport=to.transport, timeout=_LIMIT) as client:
            said = await client.request(request.method, f"{to.url}{request.path}")
    except httpx2.HTTPError:
        return False
    activity = driver.activity(Answer(said.status_code, said.content))
    return activity is not None and not activity
