"""Render what waits for a person as text: what it is, and what to type. Pure."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.plain_text import plain, visible
from reconciler.frontends.cli import render, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.frontends.cli.terminal import Paint

LINES: Final = 40
"""Lines of a command, a patch or a question."""
_INDENT: Final = "  "
NOTHING: Final = "Nothing waits for you."


def render_needs(
    needs: Sequence[Mapping[str, Any]], now: float, *, width: int | None = None, paint: Paint = terminal.plain
) -> str:
    """Render all of them, the oldest first as they come.

    Args:
        needs: as published.
        now: seconds since the epoch.
        width: columns to fit sentences into.
        paint: how to colour a part.
    """
    if not needs:
        return NOTHING
    head = [
        (need["project"], need["id"], need["kind"], render.age(now - need["since"]), need.get("tool", ""))
        for need in needs
    ]
    styles = [("bold", "cyan", "yellow", "", "") for _ in needs]
    titles = render.table(None, head, paint=paint, styles=styles)
    return "\n\n".join(
        "\n".join((title, *(f"{_INDENT}{line}" for line in _lines(need, width))))
        for title, need in zip(titles, needs, strict=True)
    )


def _lines(need: Mapping[str, Any], width: int | None) -> Iterator[str]:
    room = (width or render.WIDTH) - len(_INDENT)
    yield from textwrap.wrap(need["message"].replace("\n", "; "), room, break_on_hyphens=False)
    for key in ("command", "patch"):
        yield from _quoted(need.get(key, ""))
    if need.get("cut"):
        yield "(it is longer than what is shown: look at it in the session before you allow it)"
    for key, what in (("directories", "outside of the clone"), ("always", "always allows"), ("session", "session")):
        if value := need.get(key):
            yield f"{what}: {value if isinstance(value, str) else ', '.join(value)}"
    for question in need.get("questions", ()):
        yield from _quoted(question["text"])
        several = " (one or more)" if question["multiple"] else ""
        for number, option in enumerate(question["options"], 1):
            yield f"{number}) {option['label']}: {option['description']}".removesuffix(": ") + several
    if need.get("public_key"):
        yield plain(need["public_key"], 2000)
    yield from _next(need)


def _quoted(text: str) -> Iterator[str]:
    lines = visible(text).splitlines()
    yield from (f"| {line}" for line in lines[:LINES])
    if len(lines) > LINES:
        yield f"| ... and {len(lines) - LINES} more lines"


def _next(need: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to type."""
    command = f"-> opencode-manager answer {need['project']} {need['id']}"
    if (answers := need.get("answers")) and (count := len(need.get("questions", ()))) > 1:
        yield f"{command} {' '.join(f'ANSWER{number}' for number in range(1, count + 1))}"
        yield f"{command} deny"
    elif answers:
        words = "|".join(shlex.quote(word) if word.isprintable() else "TEXT" for word in answers)
        yield f"{command} {words}"
    elif need.get("do"):
        yield f"-> {need['do']}"
