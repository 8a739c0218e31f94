"""Compare both forms of an answer, the text and the object, by sentence: half of the clients show only one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mcp_types import TextContent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_types import CallToolResult

_TELLS_WHAT_TO_DO = re.compile(
    r"opencode[_-](?:manager|[a-z]+(?:-[a-z]+)*)\b|\b(?:please|add|give|push|review|confirm|fix|set|use|write|remove"
    r"|put|see|choose|run|call|answer|wait|go on|goes on|cannot)\b",
    re.IGNORECASE,
)


def check_both_forms(result: CallToolResult) -> None:
    """Fail the test where one form says what to do and the other does not, or where null is sent."""
    text, structured = text_of(result), result.structured_content or {}
    held = squeezed("\n".join(strings(structured)))
    for words in demands(text):
        assert words in held, f"only the text says {words!r}"
    for key in ("message", "warning", "note", "detail", "ignored"):
        for sentence in squeezed(str(structured.get(key, ""))).split("; "):
            assert sentence in squeezed(text), f"only the object says {sentence!r}"
    assert None not in list(values(structured)), structured


def demands(text: str) -> Iterator[str]:
    """Each place that tells what to do, with the next three words of its sentence.

    No more than that: where a sentence of a wrapped text ends is not always to be seen.
    """
    line = squeezed(re.sub(r"\n\n|\n(?=\w[\w -]*: )", " ; ", text))
    for match in _TELLS_WHAT_TO_DO.finditer(line):
        sentence = re.split(r"[;:.] |[.:\])]+$", line[match.start() :], maxsplit=1)[0]
        yield " ".join(sentence.split()[:4]).rstrip(".:])")


def text_of(result: CallToolResult) -> str:
    """The text for the model."""
    return "\n".join(one.text for one in result.content if isinstance(one, TextContent))


def squeezed(text: str) -> str:
    """On one line, in small letters."""
    return " ".join(text.split()).casefold()


def strings(value: Any) -> Iterator[str]:
    """Every text within."""
    if isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


def values(value: Any) -> Iterator[Any]:
    """Everything within."""
    yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from values(one)
