"""What within an agent waits for a person, from what its API lists. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from reconciler.core.observed import PendingRequest
from reconciler.core.plain_text import plain
from reconciler.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RETRIES: Final = 3
"""Attempts in a row after which a model provider counts as unreachable: one or two are an ordinary day."""
REFUSALS: Final = {401, 403}
"""What a model provider answers to who may not use it: OpenCode does not ask again (measured)."""
_SHOWN: Final = 120
"""Characters of what the agent wants to do."""


def of(
    permissions: Sequence[Mapping[str, Any]], questions: Sequence[Mapping[str, Any]], sessions: Mapping[str, Any]
) -> Iterator[PendingRequest]:
    """Yield everything that waits, the most urgent first."""
    if permissions:
        first = permissions[0]
        words = " ".join([str(first.get("permission", "")), *map(str, first.get("patterns", ()))])
        what = plain(words, _SHOWN)
        message = f"the agent asks leave for: {what}{_more(permissions)}; answer with opencode-permission-reply"
        yield PendingRequest(Reason.WAITING_FOR_PERMISSION, message)
    if questions:
        asked = questions[0].get("questions") or [{}]
        what = plain(asked[0].get("question", ""), _SHOWN)
        message = f"the agent asks: {what}{_more(questions)}; answer with opencode-question-reply"
        yield PendingRequest(Reason.WAITING_FOR_ANSWER, message)
    retrying = [status for status in sessions.values() if status.get("type") == "retry"]
    stuck = [status for status in retrying if int(status.get("attempt", 0)) >= RETRIES]
    if stuck:
        why = plain(stuck[0].get("message", ""), _SHOWN)
        message = f"the model provider cannot be reached after {int(stuck[0]['attempt'])} attempts: {why}"
        message += "; check the network and the provider's credentials"
        yield PendingRequest(Reason.PROVIDER_UNREACHABLE, message)


def at_rest(sessions: Sequence[Mapping[str, Any]], busy: Mapping[str, Any]) -> list[str]:
    """Return the ids of listed sessions that nothing works at, where the id is fit for a URL."""
    names = [session["id"] for session in sessions]
    return [name for name in names if name.replace("_", "").isalnum() and name not in busy]


def broke_off(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the newest message is a prompt or an unfinished answer: its server died (measured)."""
    if not messages:
        return False
    info = messages[-1]["info"]
    return info["role"] == "user" or not (info["time"].get("completed") or info.get("error"))


def refusal(messages: Sequence[Mapping[str, Any]], since: float) -> Iterator[PendingRequest]:
    """Report that a provider refused the newest message, if that is newer than `since` (wall clock, seconds).

    The provider's own words are not passed on: they may name the key.
    """
    info = messages[-1]["info"] if messages else {}
    error = info.get("error") or {}
    data = error.get("data") or {}
    keyless = error.get("name") == "ProviderAuthError"
    if (keyless or data.get("statusCode") in REFUSALS) and info["time"]["created"] >= since * 1000:
        who = plain(data.get("providerID") or info.get("providerID", ""), _SHOWN)
        how = "was given no key" if keyless else f"refused the agent with status {int(data['statusCode'])}"
        message = f"the model provider {who} {how}; fix its credentials, then: opencode-manager restart"
        yield PendingRequest(Reason.PROVIDER_REFUSED, message)


def _more(items: Sequence[object]) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""
