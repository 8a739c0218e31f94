"""What the event stream says about a session, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.opencode import session_state
from reconciler.core.plain_text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.agents.opencode.api import ServerEvent

_LOOK_NOW: Final = frozenset(
    {
        "session.idle",
        "session.status",
        "session.error",
        "permission.asked",
        "permission.replied",
        "question.asked",
        "question.replied",
        "question.rejected",
    }
)


@dataclass
class Streamed:
    """What the event stream said about the agent's text."""

    parts: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    fresh: str = ""
    """Not reported yet."""
    error: str = ""
    """The last error that has no message of its own, such as an unknown model."""

    def take(self, event: ServerEvent, session: str) -> bool:
        """Note the event; True when it is time to look."""
        said = event.properties
        if event.type.startswith(("permission.", "question.")):
            return event.type in _LOOK_NOW  # it may be a subagent's
        if said.get("sessionID") != session and _part(said).get("sessionID") != session:
            return False
        if event.type == "message.part.updated":
            self._updated(_part(said))
        elif event.type == "message.part.delta" and said.get("field") == "text":
            self._delta(str(said.get("partID")), str(said.get("delta") or ""))
        elif event.type == "session.error":
            self.error = session_state.read_error(said.get("error"))
        return event.type in _LOOK_NOW

    def _updated(self, part: Mapping[str, Any]) -> None:
        key, kind = str(part.get("id")), str(part.get("type"))
        known = self.kinds.get(key)
        self.kinds[key] = kind
        if kind == "tool":
            status = (part.get("state") or {}).get("status")
            if known is None or status in {"completed", "error"}:
                self.fresh += f"\n[{plain(part.get('tool'), 60)}: {plain(status, 60)}]\n"

    def _delta(self, key: str, delta: str) -> None:
        if self.kinds.get(key) == "text":  # and not its reasoning
            self.parts[key] = self.parts.get(key, "") + delta
            self.fresh += delta


def _part(said: Mapping[str, Any]) -> Mapping[str, Any]:
    part = said.get("part")
    return part if isinstance(part, dict) else {}
