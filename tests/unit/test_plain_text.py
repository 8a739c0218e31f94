"""Text that others wrote, made safe to show."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.plain_text import document, paragraph, plain, visible

ODD = st.text(st.characters(categories=("Cc", "Cf", "Cs", "Lu", "Zs", "Zl")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a name", "a name"),
        ("two  blanks stay: it may be a path", "two  blanks stay: it may be a path"),
        ("red \x1b[1;31malert\x1b[0m!", "red alert !"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("a\r\n\tb\x00c", "a b c"),
        ("left \u202egnp.exe", "left gnp.exe"),
        ("hid\U000e0041\U000e0042den", "hid den"),
        ("é 漢 \N{PARTY POPPER}", "é 漢 \N{PARTY POPPER}"),
    ],
)
def test_a_name_is_one_line_that_steers_nothing(text: str, shown: str) -> None:
    """What is no text for people becomes a blank."""
    assert plain(text) == shown


@given(ODD, st.integers(1, 50))
def test_any_name_is_printable_and_bounded(text: str, limit: int) -> None:
    """However odd."""
    assert plain(text, limit).isprintable()
    assert len(plain(text, limit)) <= limit + len("...")


def test_code_is_not_damaged() -> None:
    """Tabs, line ends of both kinds, joiners of scripts and emoji, marks of direction and blanks of all widths."""
    code = "def f():\r\n\treturn '\u200d\u200c\u200f\u00a0\u3000\ufeff\ufe0f é 漢'\n\n"

    assert visible(code) == code


def test_what_cannot_be_seen_in_an_answer_is_replaced_by_what_can() -> None:
    """One for one, so that nothing is joined that was apart."""
    assert visible("x\x1b[31m\x00\ry\x7f\x9b\u202e\u2028\ud800") == "x␛[31m␀␍y␡\ufffd\ufffd\ufffd\ufffd"


@given(ODD)
def test_any_answer_keeps_its_length_and_hides_nothing(text: str) -> None:
    """Control characters and halves of characters are gone."""
    shown = visible(text)

    assert len(shown) == len(text)
    assert visible(shown) == shown
    assert not [c for c in shown.replace("\r\n", "") if unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t"]


def test_data_is_cleaned_whole() -> None:
    """Keys and tuples too, and only as deep as anybody reads."""
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]

    assert document({"a\x1b[2J": ["b\nc", 1, None, True], "t": ("d\x07",)}) == {
        "a": ["b c", 1, None, True],
        "t": ("d",),
    }
    assert document("x" * 9_000, 10) == "x" * 10 + "..."
    assert str(document(deep)).count("[") == 20


@pytest.mark.parametrize("text", ["\x1e\x1f", "a\n\n", "\n", "a\x1eb", "\n\x1d"])
def test_a_paragraph_that_is_plain_stays_as_it_is(text: str) -> None:
    """Whatever ends its lines: what is written is what is read."""
    once = paragraph(text)

    assert paragraph(once) == once
