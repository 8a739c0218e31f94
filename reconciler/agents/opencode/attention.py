"""What within an agent waits for a person, from what its API lists. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from reconciler.agents.opencode.shapes import number, record, records, text, texts
from reconciler.core.observed import AgentQuestion, AnswerOption, PendingRequest, RequestKind
from reconciler.core.plain_text import plain
from reconciler.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.core.observed import EndedRun

RETRIES: Final = 3
"""Attempts in a row after which a model provider counts as unreachable: one or two are an ordinary day."""
REFUSALS: Final = {401, 403}
"""What a model provider answers to who may not use it: OpenCode does not ask again (measured)."""
_SHOWN: Final = 120
"""Characters of what the agent wants to do."""
_KEPT: Final = 20_000
"""Characters of a command or a patch: a page of code has 3,000."""
_MOST: Final = 100
"""Patterns, questions and options of one request."""


def of(
    permissions: Sequence[Mapping[str, Any]], questions: Sequence[Mapping[str, Any]], sessions: Mapping[str, Any]
) -> Iterator[PendingRequest]:
    """Yield everything that waits, the most urgent first."""
    yield from map(_permission, permissions)
    yield from map(_question, questions)
    for session, status in sessions.items():
        attempt = number(record(status).get("attempt"))
        if record(status).get("type") == "retry" and attempt >= RETRIES:
            why = plain(status.get("message", ""), _SHOWN)
            message = f"the model provider cannot be reached after {attempt:.0f} attempts: {why}"
            message += "; check the network and the provider's credentials"
            yield PendingRequest(Reason.PROVIDER_UNREACHABLE, message, session=session)


def unlisted() -> PendingRequest:
    """Return the permission that OpenCode 1.18 asks for and cannot list: to fetch a page without `timeout` (measured).

    Until it is answered, its list of permissions is an error.
    """
    message = "the agent asks leave for something that OpenCode cannot list, such as to fetch a page"
    message += "; allow webfetch in its configuration, or end that session with opencode-session-abort"
    return PendingRequest(Reason.WAITING_FOR_PERMISSION, message, kind=RequestKind.PERMISSION)


def _permission(raw: Mapping[str, Any]) -> PendingRequest:
    metadata = record(raw.get("metadata"))
    tool, command, patch = text(raw.get("permission")), text(metadata.get("command")), text(metadata.get("diff"))
    patterns, always = texts(raw.get("patterns")), texts(raw.get("always"))
    parent = text(metadata.get("parentDir"))
    what = plain(" ".join([tool, *patterns]), _SHOWN)
    return PendingRequest(
        Reason.WAITING_FOR_PERMISSION,
        f"the agent asks leave for: {what}",
        kind=RequestKind.PERMISSION,
        id=text(raw.get("id")),
        session=text(raw.get("sessionID")),
        tool=tool,
        command=command[:_KEPT],
        patch=patch[:_KEPT],
        cut=max(len(command), len(patch)) > _KEPT or max(len(patterns), len(always)) > _MOST,
        patterns=patterns[:_MOST],
        always=always[:_MOST],
        directories=(texts(metadata.get("directories")) or ((parent,) if parent else ()))[:_MOST],
    )


def _question(raw: Mapping[str, Any]) -> PendingRequest:
    questions = tuple(
        AgentQuestion(
            text=text(one.get("question"))[:_KEPT],
            header=text(one.get("header"))[:_KEPT],
            options=tuple(
                AnswerOption(label=text(option.get("label")), description=text(option.get("description"))[:_KEPT])
                for option in records(one.get("options"))[:_MOST]
            ),
            multiple=one.get("multiple") is True,
        )
        for one in records(raw.get("questions"))
    )
    what = plain(questions[0].text if questions else "", _SHOWN)
    return PendingRequest(
        Reason.WAITING_FOR_ANSWER,
        f"the agent asks: {what}",
        kind=RequestKind.QUESTION,
        id=text(raw.get("id")),
        session=text(raw.get("sessionID")),
        tool="question",
        questions=questions,
    )


def at_rest(sessions: Sequence[Mapping[str, Any]], busy: Mapping[str, Any]) -> list[str]:
    """Return the ids of listed sessions that nothing works at, where the id is fit for a URL."""
    names = [session["id"] for session in sessions]
    return [name for name in names if name.replace("_", "").isalnum() and name not in busy]


def broke_off(messages: Sequence[Mapping[str, Any]], ended: Sequence[EndedRun]) -> bool:
    """Tell whether the newest message is a prompt or an unfinished answer: its server died (measured).

    A server that is stopped ends its answers first, as aborted, or at a question as if that was dismissed (measured).
    Those it ended while we stopped it broke off too; what was ended before, a person ended.
    """
    info = record(messages[-1].get("info")) if messages else {}
    if info.get("role") != "assistant":
        return info.get("role") == "user"
    completed, error = number(record(info.get("time")).get("completed")), info.get("error")
    if not (completed or error):
        return True
    cut = record(error).get("name") == "MessageAbortedError" or (not error and info.get("finish") == "tool-calls")
    return cut and any(one.stop is not None and int(one.stop * 1000) <= completed <= one.ended * 1000 for one in ended)


def refusal(messages: Sequence[Mapping[str, Any]], since: float) -> Iterator[PendingRequest]:
    """Report that a provider refused the newest message, if that is newer than `since` (wall clock, seconds).

    The provider's own words are not passed on: they may name the key.
    """
    info = record(messages[-1].get("info")) if messages else {}
    error = record(info.get("error"))
    data = record(error.get("data"))
    keyless, status = error.get("name") == "ProviderAuthError", number(data.get("statusCode"))
    if (keyless or status in REFUSALS) and number(record(info.get("time")).get("created")) >= since * 1000:
        who = plain(data.get("providerID") or info.get("providerID", ""), _SHOWN)
        how = "was given no key" if keyless else f"refused the agent with status {status:.0f}"
        message = f"the model provider {who} {how}; fix its credentials, then: opencode-manager restart"
        yield PendingRequest(Reason.PROVIDER_REFUSED, message, session=text(info.get("sessionID")))
