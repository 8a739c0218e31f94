"""What the answers of OpenCode's API must look like before anybody takes them apart.

Only the outermost levels: a field that is missing within has a default where it is read.
"""

from __future__ import annotations

import re
from typing import Any, Final

_LISTS_OF_TEXT: Final = re.compile(r"/find/file")
_LISTS: Final = re.compile(r"/session|/permission|/question|/vcs/(diff|status)|/session/[^/]+/(message|diff|todo)")
_BY_SESSION: Final = re.compile(r"/session/status")
_RECORDS: Final = re.compile(r"/global/health|/config(/providers)?|/session/[^/]+(/message/[^/]+)?")


def problem(method: str, path: str, answer: object) -> str:
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
