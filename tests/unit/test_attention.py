"""What within an agent waits for a person, from what OpenCode lists."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.agents.opencode import attention
from reconciler.core.observed import EndedRun, RequestKind

PERMISSION = {"id": "per_1", "sessionID": "ses_1", "permission": "bash", "patterns": ["rm -rf build"]}
QUESTION = {"id": "que_1", "sessionID": "ses_1", "questions": [{"question": "Which\ncolour?", "options": []}]}

STOPPED = [
    EndedRun(run_id="r0", started=1.0, ended=9.9995),
    EndedRun(run_id="r1", started=5.0, stop=10.0004, ended=12.0),
    EndedRun(run_id="r2", started=13.0, stop=20.0, ended=21.0),
]


def reasons(permissions: list[Any], questions: list[Any], sessions: dict[str, Any]) -> list[str]:
    return [one.reason for one in attention.of(permissions, questions, sessions)]


def test_nothing_waits() -> None:
    """An idle or a busy agent needs nobody."""
    assert reasons([], [], {"ses_1": {"type": "busy"}}) == []


def test_a_permission_is_reported_with_what_it_is_for() -> None:
    """One line, however it was written."""
    need, _ = attention.of([PERMISSION, PERMISSION], [], {})

    assert need.reason == "WaitingForPermission"
    assert need.message == "the agent asks leave for: bash rm -rf build"


def test_what_is_too_long_to_be_shown_whole_says_so() -> None:
    """Nobody is to allow what they did not see."""
    short, long = attention.of([PERMISSION, PERMISSION | {"metadata": {"command": "x" * 10**6}}], [], {})

    assert (short.cut, long.cut, len(long.command)) == (False, True, 20_000)
    assert "xxx" not in repr(long)


@pytest.mark.parametrize("odd", [None, 1, "text", [], [1], [[]], {}, {"a": 1}])
def test_fields_of_another_type_are_left_empty(odd: object) -> None:
    """Whatever another version of OpenCode writes there."""
    permission, question, provider = attention.of(
        [{"id": odd, "sessionID": odd, "permission": odd, "patterns": odd, "metadata": odd, "always": odd}],
        [{"id": odd, "sessionID": odd, "questions": [{"question": odd, "header": odd, "options": odd}]}],
        {"ses_1": {"type": "retry", "attempt": 3, "message": odd}, "ses_2": {"type": "retry", "attempt": odd}},
    )

    assert [permission.kind, question.kind, provider.kind] == [*RequestKind]
    assert not permission.command + permission.patch + "".join(permission.directories)
    assert permission.session == question.session == (odd if isinstance(odd, str) else "")
    assert not attention.broke_off([{"info": odd}], STOPPED)
    assert list(attention.refusal([{"info": odd}], 0.0)) == []


def test_a_question_is_reported_in_one_line() -> None:
    """Line breaks of a model do not break a table."""
    (need,) = attention.of([], [QUESTION], {})

    assert "Which colour?" in need.message


def test_a_provider_counts_as_unreachable_after_three_attempts() -> None:
    """One or two are an ordinary day."""
    retry = {"type": "retry", "attempt": 2, "message": "Cannot connect to API", "next": 1}

    assert reasons([], [], {"ses_1": retry}) == []
    assert reasons([], [], {"ses_1": retry | {"attempt": 3}}) == ["ProviderUnreachable"]


def test_a_prompt_and_an_answer_without_an_end_are_broken_off() -> None:
    """A finished, failed or missing one is not."""
    unfinished, finished = {"time": {"created": 1}}, {"time": {"created": 1, "completed": 2}}

    for ended in ([], STOPPED):
        assert attention.broke_off([{"info": {"role": "user", **unfinished}}], ended)
        assert attention.broke_off([{"info": {"role": "assistant", **unfinished}}], ended)
        assert not attention.broke_off([{"info": {"role": "assistant", **finished}}], ended)
        error = {"error": {"name": "Aborted"}}
        assert not attention.broke_off([{"info": {"role": "assistant", **error, **unfinished}}], ended)
        assert not attention.broke_off([], ended)


@pytest.mark.parametrize(
    ("completed", "broke"),
    [(9999, False), (10_000, True), (12_000, True), (12_001, False), (20_500, True)],
)
@pytest.mark.parametrize("how", [{"error": {"name": "MessageAbortedError"}}, {"finish": "tool-calls"}])
def test_what_ended_while_we_stopped_it_broke_off(completed: int, how: dict[str, Any], *, broke: bool) -> None:
    """In any of the runs that are known; before, a person ended it, and a run that died by itself tells no time."""
    info = {"role": "assistant", "time": {"created": 1, "completed": completed}, **how}

    assert attention.broke_off([{"info": info}], STOPPED) is broke
    assert not attention.broke_off([{"info": info}], [])
    assert not attention.broke_off([{"info": info | {"error": {"name": "APIError"}}}], STOPPED)


def test_a_whole_answer_is_none_that_broke_off() -> None:
    """Though it ended at that moment."""
    whole = {"role": "assistant", "time": {"created": 1, "completed": 11_000}, "finish": "stop"}

    assert not attention.broke_off([{"info": whole}], STOPPED)


def test_a_refusal_is_reported_without_the_provider_s_words() -> None:
    """They may name the key. A missing key is a refusal too; other errors, and those of earlier runs, are none."""
    data = {"statusCode": 401, "message": "Incorrect API key: sk-secret", "responseBody": "sk-secret"}

    def need(name: str, since: float = 1.0, **changed: Any) -> list[str]:
        error = {"name": name, "data": data | changed}
        info = {"role": "assistant", "providerID": "fake", "time": {"created": 2000}, "error": error}
        return [f"{one.reason}: {one.message}" for one in attention.refusal([{"info": info}], since)]

    (refused,) = need("APIError")
    assert refused.startswith("ProviderRefused: the model provider fake refused the agent with status 401; fix")
    assert "sk-secret" not in refused
    (keyless,) = need("ProviderAuthError", statusCode=None, providerID="openai")
    assert "the model provider openai was given no key" in keyless
    assert need("APIError", statusCode=500) == []
    assert need("APIError", since=3.0) == []
    assert list(attention.refusal([], 0.0)) == []
    assert list(attention.refusal([{"info": {"role": "user", "time": {"created": 2000}}}], 0.0)) == []
