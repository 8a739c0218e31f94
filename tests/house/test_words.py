"""The field's words: in docstrings, comments and messages of the product and in its pages, and in all names."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "reconciler").rglob("*.py"))
CODE = [*PRODUCT, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py"))]
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "tests/RESULTS.md")]
INSTEAD = {
    r"mend(s|ed|ing)?": "fix",
    r"anew": "again",
    r"shall": "must, or the plain present",
    r"nursery": "fork server",
    r"rehears(al|e|es|ed|ing)": "warm-up",
    r"vouch(es|ed|er|ers|ing)?": "expected digest, trusted write",
    r"wish(es|ed)?": "request, change, desired",
    r"whoever": "the subject itself",
    r"it is so": "success",
    r"doors?": "frontend",
    r"told": "reported, asked, notified",
    r"does not belong here": "only in the docstring of a package",
}
BANNED = re.compile(rf"\b({'|'.join(INSTEAD)})\b", re.IGNORECASE)
STEMS = re.compile(r"mend(s|ed|ing)?|anew|nurser(y|ies)|rehears\w*|vouch\w*|wish(es|ed)?|whoever|doors?|told|forgiv\w*")
"""Words, or their stems, that no name of ours has among its parts."""
WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
"""The parts of a name."""


def wording(text: str) -> list[str]:
    """Return the prose of a module: its docstrings and messages, without code in backticks, and its comments."""
    comments = [
        token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
    ]
    strings = [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\s", node.value)
    ]
    return [re.sub(r"`[^`]*`", "", part) for part in (*comments, *strings)]


def banned_in(path: Path) -> list[str]:
    text = path.read_text()
    parts = wording(text) if path.suffix == ".py" else [re.sub(r"`[^`]*`", "", text)]
    found = [match[0] for part in parts for match in BANNED.finditer(part)]
    if path.name == "__init__.py":
        found = [words for words in found if words.lower() != "does not belong here"]
    return [f"{words} (write: {instead(words)})" for words in found]


def instead(word: str) -> str:
    return next(better for pattern, better in INSTEAD.items() if re.fullmatch(pattern, word, re.IGNORECASE))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*PRODUCT, *PAGES], ids=relative)
def test_plain_words(path: Path) -> None:
    """A native engineer reads it without decoding."""
    assert banned_in(path) == []


def names(path: Path) -> set[str]:
    """Return the names that a module gives: its own, and those of functions, classes, arguments and variables."""
    found = {path.stem}
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
    return found


def banned_names(found: Iterable[str]) -> list[str]:
    return sorted(name for name in found if any(STEMS.fullmatch(word.lower()) for word in WORDS.findall(name)))


def test_plain_names() -> None:
    """Also in tests and examples: who reads a name needs no glossary."""
    bad = {relative(path): found for path in CODE if (found := banned_names(names(path)))}

    assert bad == {}


def test_a_banned_word_is_found_in_a_name() -> None:
    """As a part of it, whatever its case; not where it is a part of another word."""
    assert banned_names(["is_told", "_MENDED", "MyWish", "recommend", "known", "rehearse", "doormat"]) == [
        "MyWish",
        "_MENDED",
        "is_told",
        "rehearse",
    ]


def test_each_class_of_the_product_has_a_name_of_its_own() -> None:
    """Two with one name mean two things, and a reader has to guess which."""
    classes = Counter(
        node.name for path in PRODUCT for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
    )

    assert [name for name, count in classes.items() if count > 1] == []


def test_a_banned_word_is_found_in_docstrings_comments_and_messages() -> None:
    """Not in names, and not in what backticks quote."""
    text = '"""A wish."""\ntold = 1  # anew\nraise ValueError(f"mend {told} now")\nx = "`shall` stays"\n'

    assert sorted(found[0] for part in wording(text) for found in BANNED.finditer(part)) == ["anew", "mend", "wish"]
