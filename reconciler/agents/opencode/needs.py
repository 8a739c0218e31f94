"""Ask an OpenCode what waits for a person, what was interrupted, and whether a provider refused it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.base import CallError, Request
from reconciler.agents.opencode import attention
from reconciler.agents.opencode.kind import OPENCODE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.base import Wire
    from reconciler.core.observed import PendingRequest

RECENT: Final = 5
"""Sessions that are asked whether a restart interrupted them: the last ones that were used."""
_ODD: Final = (CallError, ValueError, TypeError, KeyError, AttributeError)
"""How a call, or reading its answer, goes wrong."""


async def waiting(wire: Wire, sessions: Mapping[str, Any]) -> tuple[PendingRequest, ...]:
    """Return what waits for a person; nothing where that cannot be seen."""
    try:
        paths = (OPENCODE.permission_path, OPENCODE.question_path)
        permissions, questions = [(await wire.ask(Request(path=path))).json() for path in paths]
        return tuple(attention.of(permissions, questions, sessions))
    except _ODD:
        return ()


async def interrupted(wire: Wire) -> tuple[str, ...]:
    """Return the recent sessions whose last answer broke off, and that do not work at it now."""
    try:
        busy = await wire.ask(Request(path=OPENCODE.ready_path))
        newest = await _newest(wire, RECENT, busy.json())
        return tuple(name for name, messages in newest.items() if attention.broke_off(messages))
    except _ODD:
        return ()


async def refused(wire: Wire, started: float) -> tuple[PendingRequest, ...] | None:
    """Return whether a model provider refused the newest message of this run; None where it cannot be seen."""
    try:
        newest = await _newest(wire, 1, {})
        return tuple(one for messages in newest.values() for one in attention.refusal(messages, started))
    except _ODD:
        return None


async def _newest(wire: Wire, count: int, busy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the newest message of each of the last used sessions that nothing works at."""
    listed = await wire.ask(Request(path=f"{OPENCODE.sessions_path}?limit={count}"))
    names = attention.at_rest(listed.json(), busy)
    calls = [Request(path=f"{OPENCODE.sessions_path}/{name}/message?limit=1") for name in names]
    return {name: (await wire.ask(call)).json() for name, call in zip(names, calls, strict=True)}
