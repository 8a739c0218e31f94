"""The field's words: docstrings, comments and messages of the product, the README and the CHANGELOG."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "reconciler").rglob("*.py"))
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
NOT_DONE: frozenset[str] = frozenset(
    {
        "reconciler/__init__.py",
        "reconciler/agents/__init__.py",
        "reconciler/agents/base.py",
        "reconciler/agents/opencode/agent.py",
        "reconciler/agents/opencode/api.py",
        "reconciler/agents/opencode/attention.py",
        "reconciler/agents/opencode/driver.py",
        "reconciler/agents/opencode/follow.py",
        "reconciler/agents/opencode/own_writes.py",
        "reconciler/agents/opencode/session_state.py",
        "reconciler/api/client.py",
        "reconciler/api/results.py",
        "reconciler/bridge/config.py",
        "reconciler/core/actions.py",
        "reconciler/core/status.py",
        "reconciler/engines/local/health/prober.py",
        "reconciler/engines/local/secrets/__init__.py",
        "reconciler/engines/local/secrets/env_file.py",
        "reconciler/engines/local/secrets/ssh_keys.py",
        "reconciler/engines/local/services.py",
        "reconciler/engines/local/start_progress.py",
        "reconciler/engines/local/trash.py",
        "reconciler/frontends/mcp/addresses.py",
        "reconciler/frontends/mcp/router.py",
        "reconciler/frontends/mcp/server.py",
        "reconciler/frontends/mcp/stdio.py",
        "reconciler/frontends/mcp/tools.py",
        "reconciler/mcpkit/endpoint.py",
        "reconciler/system/exchange_file.py",
    }
)
"""Files that still use such a word. The list only shrinks: a file that is clean must leave it."""


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


@cache
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
    if relative(path) not in NOT_DONE:
        assert banned_in(path) == []


def test_the_list_of_files_that_are_not_done_only_shrinks() -> None:
    """A file that has become clean, or is gone, leaves the list."""
    still = {relative(path) for path in [*PRODUCT, *PAGES] if banned_in(path)}

    assert sorted(NOT_DONE - still) == []


def test_a_banned_word_is_found_in_docstrings_comments_and_messages() -> None:
    """Not in names, and not in what backticks quote."""
    text = '"""A wish."""\ntold = 1  # anew\nraise ValueError(f"mend {told} now")\nx = "`shall` stays"\n'

    assert sorted(found[0] for part in wording(text) for found in BANNED.finditer(part)) == ["anew", "mend", "wish"]
