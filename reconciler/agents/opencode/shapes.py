"""What the answers of OpenCode's API look like, before anybody takes them apart: for the driver and the bridge alike.

`read` decodes a whole answer and refuses one of another shape. Within, a field that is missing or of another type is
empty where it is read: by `record`, `records`, `text`, `texts` and `number`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTS_OF_TEXT: Final = re.compile(r"/find/file")
_LISTS: Final = re.compile(r"/session|/permission|/question|/vcs/(diff|status)|/session/[^/]+/(message|diff|todo)")
_BY_SESSION: Final = re.compile(r"/session/status")
_RECORDS: Final = re.compile(r"/global/health|/config(/providers)?|/session/[^/]+(/message/[^/]+)?")


class OddShapeError(ValueError):
    """An answer has another shape; the text is a clause that says which."""


def decode(body: bytes | bytearray) -> Any:  # noqa: ANN401  whatever JSON may hold
    """Decode an answer; an empty one is None. Raises ValueError: it is not JSON."""
    try:
        return json.loads(body) if body else None
    except RecursionError:
        raise OddShapeError("it is nested too deep") from None


def read(method: str, path: str, body: bytes | bytearray) -> Any:  # noqa: ANN401  whatever JSON may hold
    """Decode the answer to a call that succeeded.

    Args:
        method: of the call.
        path: of the call, without a query.
        body: of the answer.

    Raises:
        OddShapeError: it has another shape than this call's answers.
        ValueError: it is not JSON.
    """
    answer = decode(body)
    if odd := _problem(method, path, answer):
        raise OddShapeError(odd)
    return answer


def record(value: object) -> Mapping[str, Any]:
    """Return a record, empty where there is none."""
    return value if isinstance(value, dict) else {}


def records(value: object) -> tuple[Mapping[str, Any], ...]:
    """Return the records of a list."""
    return tuple(one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def text(value: object) -> str:
    """Return a text, empty where there is none."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> tuple[str, ...]:
    """Return the texts of a list."""
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def number(value: object) -> float:
    """Return a number, 0 where there is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _problem(method: str, path: str, answer: object) -> str:
    """Return what is wrong with the shape of an answer, as a clause; empty if nothing is."""
    if method == "POST":
        return "" if path != "/session" or _names_itself(answer) else "it is no session"
    if method != "GET":
        return ""
    if _LISTS_OF_TEXT.fullmatch(path):
        return "" if _all(answer, str) else "it is no list of texts"
    if _LISTS.fullmatch(path):
        named = path != "/session" or (isinstance(answer, list) and all(map(_names_itself, answer)))
        return "" if _all(answer, dict) and named else "it is no list of records"
    if _BY_SESSION.fullmatch(path):
        return "" if isinstance(answer, dict) and _all([*answer.values()], dict) else "it is no record of records"
    return "" if _RECORDS.fullmatch(path) is None or isinstance(answer, dict) else "it is no record"


def _all(answer: object, kind: type[Any]) -> bool:
    return isinstance(answer, list) and all(isinstance(one, kind) for one in answer)


def _names_itself(answer: object) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("id"), str)
