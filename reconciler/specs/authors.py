"""Say who wrote a spec: a note beside the digest by which a text of our own tools is recognised.

A text that no tool wrote has none: its author is the owner of the file.
"""

from __future__ import annotations

import json

from reconciler.core.history import Author, Via


def note(digest: str, author: Author | None) -> str:
    """Return the content of the file that tells of a text."""
    return f"{digest}\n{json.dumps(author)}\n" if author else digest


def digest(content: str) -> str:
    """Return the digest of the text."""
    return content.partition("\n")[0]


def author(content: str) -> Author | None:
    """Return who wrote it, None where that is not known."""
    try:
        via, name, detail = json.loads(content.partition("\n")[2])
        return Author(Via(via), str(name), str(detail))
    except (ValueError, TypeError):
        return None
