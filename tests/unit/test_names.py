"""Names of projects: what is one, and the nearest to what is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.core import spec
from reconciler.core.names import EXAMPLE, RULE, nearest_name, refused_name, valid_name
from reconciler.specs.ignored import SPEC_KEYS


@given(st.text(max_size=90) | st.from_regex(r"[A-Za-z0-9_. -]{1,80}", fullmatch=True))
@example("-" * 80)
@example("a" * 62 + "--b")
@example("x" * 62 + "_y")
@settings(max_examples=200, database=None)
def test_the_nearest_name_is_a_name(text: str) -> None:
    """Always; and a name is its own nearest."""
    nearest = nearest_name(text)

    assert valid_name(nearest)
    assert not valid_name(text) or nearest == text
    assert nearest in refused_name(text) or EXAMPLE in refused_name(text)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("My_App", "my-app"),
        ("my.app", "my-app"),
        ("my  app", "my-app"),
        ("-App-", "app"),
        ("Éclair au café", "eclair-au-cafe"),
        ("user/repo", "user-repo"),
        ("app (conflicted copy)", "app-conflicted-copy"),
        ("a" * 70, "a" * 63),
        ("日本", EXAMPLE),
        ("", EXAMPLE),
        ("..", EXAMPLE),
    ],
)
def test_nearest_names(text: str, nearest: str) -> None:
    """As a person would choose them."""
    assert nearest_name(text) == nearest


def test_the_sentence_has_the_name_to_use() -> None:
    """What may hold a password, or break a terminal, is not repeated."""
    assert refused_name("My_App") == f"cannot use 'My_App' as a project name: {RULE}; use my-app"
    assert refused_name("") == f"cannot use '' as a project name: {RULE}; use one like my-app"
    for text in ("https://me:hush@host/x", "a\x1b[2Jhush", "hush" * 30):
        assert refused_name(text) == f"cannot use this as a project name: {RULE}; use one like my-app"


def test_the_keys_of_a_spec_are_known_without_loading_it() -> None:
    """The list beside the model has all of its keys, and its schema has the limits of ports."""
    schema = spec.schema()

    assert set(schema["properties"]) == SPEC_KEYS
    for part in ("Agent", "Bridge"):
        port = schema["$defs"][part]["properties"]["port"]["anyOf"]
        assert json.dumps(port, sort_keys=True) == json.dumps(
            [{"maximum": 65535, "minimum": 1024, "type": "integer"}, {"type": "null"}], sort_keys=True
        )
