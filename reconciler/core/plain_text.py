"""Text that others wrote, made safe to show: the one place where that is decided. Pure.

An agent, a repository and a remote choose names, titles, paths and error texts, and these reach status files,
terminals, logs and models. A control character may steer a terminal, a bidirectional override may show a line in
another order than it has, an invisible character may hide words from a person that a model reads.

Few sorts of text, and nothing else is shown:

- `plain`: a name, a path or a sentence. One line, bounded, printable characters only.
- `visible`: an answer or the content of a file. Lines, tabs and everything printable stay as they are, a line ending
  of DOS included, so that code is not damaged; each other control character is replaced, one for one, by its picture
  (ESC by U+241B), and each invisible one by U+FFFD. It is replaced and never removed, since what is removed can join
  the halves of a secret after they were searched for it; and its length stays, so that limits hold.
- `document`: data of any shape, each of its strings `plain`, a message line by line (`paragraph`).
"""

from __future__ import annotations

import re
from typing import Any, Final

LIMIT: Final = 300
"""Characters of a name, a path or a clause."""
LONGEST: Final = 4_000
"""Characters of the longest sentence of a status: a destroy that is blocked lists what would be lost."""
MOST_LINES: Final = 100
MESSAGE: Final = "message"
"""The key of what a person reads: we make its sentences, and what an agent says in one of them is `plain` already."""
DEEPEST: Final = 20
"""Levels of a document; what lies deeper is left out."""

_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # a control sequence: colours, the cursor
    r"|\x1b[\]PX^_][^\x07\x1b]{0,4000}(?:\x07|\x1b\\)?"  # a command with a text: titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]"
)
_GAP: Final = "\0"
_HIDDEN: Final = re.compile(
    "(\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f])"  # those that have a picture
    "|[\x80-\x9f\u2028\u2029"  # control characters and line ends of other sets
    "\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides and isolates
    "\u200b\u2060-\u2065\u206a-\u206f\ufff9-\ufffb"  # invisible
    "\ud800-\udfff"  # halves of a character, which no encoding can carry
    "\U000e0000-\U000e007f]"  # tags: invisible letters
)


def plain(text: object, limit: int = LIMIT) -> str:
    """Return one line of printable characters, at most `limit` of them plus the mark of a cut.

    Args:
        text: anything; what is no text is shown as Python does.
        limit: characters.
    """
    line = str(text)
    if len(line) > 8 * limit:
        line = line[: 8 * limit]  # a sequence is up to a few characters; the rest could not be shown anyway
    if not line.isprintable():
        line = _SEQUENCE.sub(_GAP, line)
        line = "".join(character if character.isprintable() else _GAP for character in line)
        line = re.sub(rf" *{_GAP}[{_GAP} ]*", " ", line).strip()
    return line if len(line) <= limit else f"{line[:limit]}..."


def paragraph(text: str, limit: int = LIMIT) -> str:
    """Make the text plain line by line: several sentences of ours stand on lines of their own."""
    return "\n".join(plain(line, limit) for line in text.splitlines()[:MOST_LINES]).rstrip("\n")


def visible(text: str) -> str:
    """Return the text, line by line, with each character that cannot be seen replaced by one that can."""
    return text if text.isprintable() else _HIDDEN.sub(_picture, text)


def document(value: Any, limit: int = LONGEST, depth: int = DEEPEST) -> Any:  # noqa: ANN401  whatever JSON may hold
    """Return the data with each of its strings `plain`, keys included; a message keeps its lines.

    Args:
        value: what JSON can hold, and tuples.
        limit: characters of one string.
        depth: levels that are looked into.
    """
    if isinstance(value, str):
        return plain(value, limit)
    if not isinstance(value, dict | list | tuple):
        return value
    if not depth:
        return None
    if isinstance(value, dict):
        return {
            plain(key, limit): paragraph(item, limit)
            if key == MESSAGE and isinstance(item, str)
            else document(item, limit, depth - 1)
            for key, item in value.items()
        }
    items = [document(item, limit, depth - 1) for item in value]
    return tuple(items) if isinstance(value, tuple) else items


def _picture(match: re.Match[str]) -> str:
    control = match[1]
    return "\ufffd" if control is None else "\u2421" if control == "\x7f" else chr(0x2400 + ord(control))
