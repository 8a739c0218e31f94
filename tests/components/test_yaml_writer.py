"""YAML that we write, read by others: PyYAML follows version 1.1, ruamel.yaml 1.2, and our own reader is stricter."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.specs import yaml_reader, yaml_writer
from reconciler.specs.patch import patch_text
from reconciler.specs.writer import new_text

TRICKY = (
    *(
        "1e3",
        "12e4567",
        "25921e05",
        "0x1f",
        "0o7",
        "0b1",
        "007",
        "0755",
        "1_000",
        "12:30:45",
        "190:20:30",
        "1.10",
        "+1",
    ),
    *("no", "Yes", "ON", "y", "N", "null", "NULL", "~", "true", "False", ".inf", "-.INF", ".nan", ".NaN", "1.", ".5"),
    *("2026-11-23", "2026-11-23T10:00:00Z", "=", "<<", "!x", "&x", "*x", "- x", "? x", "x: y", "x #y", "#", "%x", "@x"),
    *(
        "`x`",
        "{",
        "}",
        "[",
        "]",
        ",",
        "a,b",
        '"',
        "'",
        "\\",
        " ",
        "",
        "x ",
        " x",
        "a\nb",
        "a\tb",
        "---",
        "...",
        "|",
        ">",
    ),
    *(
        "\x85",
        "\u2028",
        "\ufeff",
        "\x7f",
        "\u00a0",
        "\U0001f600",
        "é",
        "a\u0301",
        "\x07",
        "\r\n",
        "~/x",
        "./x",
        "C:\\x",
    ),
)
TEXTS = (
    st.sampled_from(TRICKY)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.text("0123456789eE+-.:_xob", min_size=1, max_size=9)
)
SCALARS = TEXTS | st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


def read_by_all(text: str) -> list[Any]:
    """What a reader of YAML 1.1, its faster twin and a reader of YAML 1.2 make of it."""
    new = YAML(typ="safe", pure=True)
    assert new.version is None  # 1.2 is its default
    return [yaml.load(text, Loader=yaml.SafeLoader), yaml.load(text, Loader=yaml.CSafeLoader), new.load(text)]


def same(one: object, other: object) -> bool:
    """Whether it is the same data: a number of the same kind, keys in the same order."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@given(DATA)
@settings(max_examples=150, database=None)
def test_what_is_printed_is_read_the_same_by_all(data: Any) -> None:
    """Any data that JSON has."""
    text = yaml_writer.dump({"data": data})

    assert all(same(read["data"], data) for read in read_by_all(text)), text


@pytest.mark.parametrize("style", [None, "'", '"'])
@pytest.mark.parametrize("value", [*TRICKY, 1e16, -0.5, 1e-9, math.inf, 10**18, True, None])
def test_every_tricky_scalar_is_read_the_same_by_all(value: Any, style: str | None) -> None:
    """In any style, alone, as a key and within braces."""
    text = yaml_writer.scalar(value, style)

    for document in (f"a: {text}\n", f"{{a: {text}, b: [{text}]}}\n"):
        assert all(same(read["a"], value) for read in read_by_all(document)), document
    if isinstance(value, str):
        assert all(list(read) == [value] for read in read_by_all(f"{text}: 1\n"))


@given(TEXTS, TEXTS)
@example("12e4567", "1e3")
@settings(max_examples=100, database=None)
def test_specs_that_we_write_and_change_are_read_the_same_by_all(url: str, ref: str) -> None:
    """By all of those, and by our own reader."""
    text = patch_text(new_text(url), {("git", "ref"): ref, ("agent", "env", "A"): url})
    wanted = {"git": {"url": url, "ref": ref}, "agent": {"env": {"A": url}}}

    assert same(yaml_reader.plain(yaml_reader.compose(text, "x.yaml")), wanted)
    assert all(same(read, wanted) for read in read_by_all(text)), text
