"""The bridge's decisions: what a look at a session amounts to, and what is hidden."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest

from reconciler.agents.opencode import session_state
from reconciler.agents.opencode.api import _refusal
from reconciler.agents.opencode.session_state import Doubt, SessionState, Snapshot, judge, read_message
from reconciler.agents.opencode.tools.message import _joined
from reconciler.mcpkit import redact


def message(number: int, role: str, *, done: bool = True, finish: str = "stop", **info: Any) -> session_state.Message:
    time = {"created": 1000 * number} | ({"completed": 1000 * number + 1} if done else {})
    head = {"id": f"msg_{number}", "role": role, "time": time, "finish": finish, **info}
    return read_message({"info": head, "parts": [{"id": f"prt_{number}", "type": "text", "text": f"text {number}"}]})


ASKED = message(1, "user")
BUSY = {"type": "busy"}
ABORTED = {"name": "MessageAbortedError", "data": {}}
RETRY = {"type": "retry", "attempt": 2, "message": "no route"}


@pytest.mark.parametrize(
    ("sight", "state", "doubt"),
    [
        (Snapshot(status={}, messages=[]), SessionState.RUNNING, Doubt.UNANSWERED),
        (Snapshot(status={}, messages=[ASKED]), SessionState.RUNNING, Doubt.UNANSWERED),
        (Snapshot(status=BUSY, messages=[ASKED]), SessionState.RUNNING, Doubt.NONE),
        (Snapshot(status=BUSY, messages=[ASKED, message(2, "assistant")]), SessionState.RUNNING, Doubt.NONE),
        (Snapshot(status={"type": "idle"}, messages=[ASKED, message(2, "assistant")]), SessionState.DONE, Doubt.NONE),
        (Snapshot(status={}, messages=[ASKED, message(2, "assistant")]), SessionState.DONE, Doubt.NONE),
        (
            Snapshot(status={}, messages=[ASKED, message(2, "assistant", done=False)]),
            SessionState.RUNNING,
            Doubt.INTERRUPTED,
        ),
        (
            Snapshot(status={}, messages=[message(2, "assistant", finish="tool-calls")]),
            SessionState.RUNNING,
            Doubt.INTERRUPTED,
        ),
        (Snapshot(status={}, messages=[message(2, "assistant", finish="")]), SessionState.ERROR, Doubt.NONE),
        (Snapshot(status={}, messages=[message(2, "assistant", error=ABORTED)]), SessionState.ERROR, Doubt.NONE),
        (
            Snapshot(status={}, messages=[message(2, "assistant"), message(3, "user")]),
            SessionState.RUNNING,
            Doubt.UNANSWERED,
        ),
        (Snapshot(status=RETRY, messages=[ASKED]), SessionState.RETRY, Doubt.NONE),
        (
            Snapshot(status=BUSY, messages=[ASKED], permissions=[{"id": "per_1"}]),
            SessionState.WAITING_PERMISSION,
            Doubt.NONE,
        ),
        (
            Snapshot(status=BUSY, messages=[ASKED], questions=[{"id": "que_1"}]),
            SessionState.WAITING_QUESTION,
            Doubt.NONE,
        ),
    ],
)
def test_a_look_is_judged(sight: Snapshot, state: SessionState, doubt: Doubt) -> None:
    """Done is never concluded from an idle status alone."""
    verdict = judge(sight, ASKED.id)

    assert (verdict.state, verdict.doubt) == (state, doubt)


def test_an_older_answer_is_not_the_answer() -> None:
    """What was complete before the prompt was stored says nothing about it."""
    verdict = judge(Snapshot(status={}, messages=[ASKED, message(2, "assistant")]), "msg_3")

    assert (verdict.state, verdict.doubt) == (SessionState.RUNNING, Doubt.UNANSWERED)


def test_message_ids_rise_with_time() -> None:
    """OpenCode's loop goes by their order."""
    ids = [session_state.message_id(1_795_407_098.0 + step) for step in (0.0, 0.001, 1.0, 86_400.0)]

    assert ids == sorted(ids)
    assert len(set(ids)) == 4


def test_a_configuration_shows_no_secret() -> None:
    """By the names of keys, by the shape of values, in lists, in addresses; and what is no secret stays."""
    shown = redact.document(
        {
            "model": "fake/m1",
            "keybinds": {"leader": "ctrl+x"},
            "provider": {
                "a": {"options": {"apiKey": "CANARY1", "baseURL": "https://bob:CANARY2@host/v1?key=CANARY3&a=b"}}
            },
            "mcp": {
                "x": {"headers": {"X-Any": "CANARY4"}, "environment": {"ANY": "CANARY5"}},
                "y": {"command": ["npx", "tool", "--api-key", "CANARY6", "--token=CANARY7"]},
            },
            "auth": {"refresh": "CANARY8", "access": "CANARY9", "expires": 12},
            "note": "use sk-CANARYCANARY and Bearer CANARYCANARY",
            "limit": {"max_tokens": 4000},
            "nested": [{"client-secret": ["CANARY10"]}],
        }
    )

    assert "CANARY" not in repr(shown)
    assert shown["model"] == "fake/m1"
    assert shown["keybinds"] == {"leader": "ctrl+x"}
    assert shown["limit"] == {"max_tokens": 4000}
    assert shown["auth"]["expires"] == 12
    assert shown["provider"]["a"]["options"]["baseURL"] == "https://[redacted]@host/v1?key=[redacted]&a=b"
    assert shown["mcp"]["y"]["command"][:3] == ["npx", "tool", "--api-key"]


def test_known_secrets_are_hidden_wherever_they_stand() -> None:
    """An agent's shell can print the password it was started with."""
    assert redact.without({"a": ["x hunter2 y"], "n": 1}, ("hunter2",)) == {"a": ["x [redacted] y"], "n": 1}


def test_log_lines_hide_secrets_in_tracebacks_too() -> None:
    """The last wall: an exception of a library."""
    formatter = redact.Formatter(("hunter2",))
    try:
        int("with hunter2 inside")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("name", logging.ERROR, "path", 1, "said %s", ("hunter2",), info)

    assert "hunter2" not in formatter.format(record)
    assert "ValueError" in formatter.format(record)


@pytest.mark.parametrize(
    ("age", "status", "model", "joins"),
    [
        (1, {}, "", True),
        (600, {}, "", False),
        (600, BUSY, "", True),
        (1, {}, "good/one", True),
        (1, {}, "another/one", False),
    ],
)
def test_a_prompt_that_was_never_answered_can_be_sent_again(
    age: float, status: dict[str, str], model: str, *, joins: bool
) -> None:
    """While it is fresh or worked on, the same words for the same model join it: a caller may have lost the answer."""
    when = {"created": (time.time() - age) * 1000}
    prompt = message(1, "user", time=when, model={"providerID": "good", "modelID": "one"})

    joined = _joined(Snapshot(status=status, messages=[prompt]), prompt.text, model)

    assert joined == (prompt.id if joins else None)


def test_what_answers_a_prompt_out_of_sight_names_it() -> None:
    """The answers after it are found, where those after the newest answer would be none."""
    sight = Snapshot(status={}, messages=[message(number, "assistant", parentID="msg_1") for number in range(3, 9)])

    assert _joined(sight, "", "") == "msg_1"
    assert len(sight.answers("msg_1")) == 6


def test_a_secret_cut_in_two_is_not_shown() -> None:
    """What may be the beginning of one waits for the next piece, or for the end; anything else is shown at once."""
    stream = redact.StreamRedactor(("hush-hush-0123",))
    pieces = ["say hus", "h-hush-01", "23 and hu", "rry", " hush-hush-0123! hush"]

    shown = [stream.clean(piece) for piece in pieces]

    assert shown[0] == "say "
    assert "".join(shown) == f"say {redact.HIDDEN} and hurry {redact.HIDDEN}! "
    assert (stream.rest(), stream.rest()) == ("hush", "")


JSONC = """
--- JSONC Input ---
{
 "provider": {"x": {"options": {"apiKey": "HUSH"}}},
 "model": HUSH
}
--- Errors ---
InvalidSymbol at line 3, column 11
   Line 3:  "model": HUSH
                    ^
--- End ---"""
"""As OpenCode 1.18 words it."""


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("ConfigJsonError", {"message": JSONC}, "/repo/opencode.json, line 3)"),
        (
            "ConfigInvalidError",
            {
                "issues": [
                    {"path": ["provider", "x", "options", "apiKey"], "message": 'Expected number, got "HUSH"'},
                    {"path": ["mcp", "a"], "message": "Missing key"},
                ]
            },
            "/repo/opencode.json; provider.x.options.apiKey: Expected number; mcp.a: Missing key)",
        ),
        ("ConfigInvalidError", {"message": "HUSH", "issues": "HUSH"}, "/repo/opencode.json)"),
    ],
)
def test_a_broken_configuration_is_reported_by_its_place_and_never_quoted(
    name: str, words: dict[str, Any], expected: str
) -> None:
    """OpenCode's own words may hold all of the file."""
    body = {"name": name, "data": {"path": "/repo/opencode.json", **words}}

    text = str(_refusal(400, json.dumps(body).encode()))

    assert f"({name}: {expected}" in text
    assert "HUSH" not in text


@pytest.mark.parametrize(
    "said",
    [
        '{"apiKey": "HUSH-0123", "model": "kept"}',
        '{"api_key":"HUSH\\"HUSH","model":"kept"}',
        json.dumps({"inner": json.dumps({"clientSecret": 'HUSH"HUSH', "model": "kept"})}),
        "{'Authorization': 'HUSH', 'model': 'kept'}",
        'kept {"password": "HUSH and then it was cut',
        '{"token": "", "model": "kept"}',
    ],
)
def test_a_key_in_json_text_is_hidden(said: str) -> None:
    """Whatever its spelling, with quotes inside, in JSON within JSON, without an end; and nothing else is."""
    shown = redact.text(said)

    assert "HUSH" not in shown
    assert redact.HIDDEN in shown
    assert "kept" in shown


def test_a_long_word_is_searched_for_secrets_in_no_time() -> None:
    """Half a million characters: by the square of their number, it would be hours."""
    word = "x" * 500_000

    assert redact.text(word) == word
    assert redact.text("\\" * 500_000).count("\\") == 500_000
