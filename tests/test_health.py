"""What an agent's answers mean: told to people without what the answers quote."""

from __future__ import annotations

import json

import pytest

from reconciler.local.calls import Answer
from reconciler.local.health import _broken_config


@pytest.mark.parametrize(
    ("told", "where"),
    [
        (
            {
                "name": "ConfigJsonError",
                "data": {"path": "/repo/opencode.json", "message": "bad\n--- JSONC Input ---\n{k: HUSH}\nat line 3"},
            },
            "cannot load the agent's configuration /repo/opencode.json, line 3 (ConfigJsonError): mend it",
        ),
        (
            {
                "name": "ConfigInvalidError",
                "data": {"path": "/repo/opencode.json", "issues": [{"message": "got HUSH", "path": ["model", 0]}]},
            },
            "cannot load the agent's configuration /repo/opencode.json, at model.0 (ConfigInvalidError): mend it",
        ),
        ({"name": "ConfigFrontmatterError", "data": None}, "cannot load the agent's configuration (Config"),
    ],
)
def test_a_broken_configuration_is_told_by_its_place(told: object, where: str) -> None:
    """And never by its text, in which keys may stand."""
    text = _broken_config(Answer(400, json.dumps(told).encode()))

    assert text.startswith(where)
    assert "HUSH" not in text


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, b'{"name": "BadRequest", "data": {}}'),
        Answer(400, b"no JSON"),
        Answer(400, b"[1]"),
        Answer(400, b'{"name": "ConfigInvalidError", "data": {"issues": 7}}'),
        Answer(500, b'{"name": "ConfigInvalidError"}'),
        Answer(200, b"{}"),
    ],
)
def test_any_other_answer_says_nothing_of_a_configuration(answer: Answer) -> None:
    """However odd."""
    assert _broken_config(answer) == ""
