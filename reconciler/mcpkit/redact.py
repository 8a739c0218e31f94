"""Keeping secrets out of what is returned and printed, pure."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

HIDDEN: Final = "[redacted]"

_SECRET_KEYS: Final = frozenset(
    {"key", "keys", "pat", "auth", "access", "refresh", "bearer", "cookie", "cookies", "jwt"}
)
_SECRET_PARTS: Final = ("apikey", "token", "secret", "password", "passwd", "passphrase", "credential", "authorization")
_SECRET_ENDINGS: Final = ("accesskey", "accesskeyid", "privatekey", "signingkey", "encryptionkey", "cookie")
_SECRET_MAPS: Final = frozenset({"headers", "env", "environment", "header"})
_FLAG: Final = re.compile(r"--?[\w-]*(?:key|token|secret|password|passwd|authorization|header)", re.IGNORECASE)
_WORDS: Final = "api[-_]?key|token|secret|password|passwd|passphrase|credential|authorization|signature"
_NAMES: Final = rf"(?:[\w-]{{0,64}}(?:{_WORDS})|key|auth|sig)"
"""Bounded, as is all that may stand before an anchor here: else a long word takes time by the square of its length."""
_PATTERNS: Final = (
    (re.compile(r"([a-z][a-z0-9+.-]{0,40}://)[^/\s@\"'<>]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(rf"([?&]{_NAMES}=)[^&\s#\"'<>]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"(--?{_NAMES}[= ])\S+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # In JSON, also in JSON inside a string of JSON; without its end where the text was cut.
    (re.compile(rf"((\\{{0,16}}[\"']){_NAMES}\2\s*:\s*\2)(?s:.*?)((?<!\\)\2|\Z)", re.IGNORECASE), rf"\1{HIDDEN}\3"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}"), HIDDEN),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|AIza)[A-Za-z0-9_-]{10,}"), HIDDEN),
)


def document(value: Any) -> Any:  # noqa: ANN401  whatever JSON may hold
    """Return a JSON document without the values that their keys, or their own shape, show to be secrets."""
    if isinstance(value, dict):
        return {key: _field(str(key), item) for key, item in value.items()}
    if isinstance(value, list):
        return _sequence(value)
    return text(value) if isinstance(value, str) else value


def text(value: str) -> str:
    """Return a text without passwords in URLs and without what looks like a key."""
    for pattern, replacement in _PATTERNS:
        value = pattern.sub(replacement, value)
    return value


def without(value: Any, secrets: tuple[str, ...]) -> Any:  # noqa: ANN401  whatever JSON may hold
    """Return a document without these very secrets, wherever they stand: an agent's shell can print its password."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {without(key, secrets): without(item, secrets) for key, item in value.items()}
    return [without(item, secrets) for item in value] if isinstance(value, list) else value


class StreamRedactor:
    """Text that comes in pieces, without these secrets, though one may be cut in two."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self._held = ""

    def clean(self, piece: str) -> str:
        """Return what can be shown now; an end that may be the beginning of a secret waits for the next piece."""
        whole = str(without(self._held + piece, self._secrets))
        ends = (whole[at:] for at in range(max(0, len(whole) - max(map(len, self._secrets), default=0)), len(whole)))
        self._held = next((end for end in ends if any(secret.startswith(end) for secret in self._secrets)), "")
        return whole[: len(whole) - len(self._held)]

    def rest(self) -> str:
        """Return what waits, when no more pieces come."""
        held, self._held = self._held, ""
        return held


class Formatter(logging.Formatter):
    """Log lines without these secrets, tracebacks included."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Format one record as one line, or more with a traceback."""
        return str(without(text(super().format(record)), self._secrets))


def _field(key: str, value: Any) -> Any:  # noqa: ANN401  whatever JSON may hold
    name = re.sub(r"[^a-z0-9]", "", key.lower())
    if name in _SECRET_MAPS:
        return _hide(value)
    secret = name in _SECRET_KEYS or any(part in name for part in _SECRET_PARTS) or name.endswith(_SECRET_ENDINGS)
    return _hide(value) if secret else document(value)


def _hide(value: Any) -> Any:  # noqa: ANN401  whatever JSON may hold
    """Return the shape of a value. Numbers and flags stay: a limit of tokens is no token."""
    if isinstance(value, dict):
        return {key: _hide(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide(item) for item in value]
    return HIDDEN if isinstance(value, str) and value else value


def _sequence(values: list[Any]) -> list[Any]:
    """Redact a list, in which a word after a flag such as `--api-key` is a secret too."""
    shown = []
    before: Any = None
    for value in values:
        hide = isinstance(before, str) and isinstance(value, str) and _FLAG.fullmatch(before)
        shown.append(HIDDEN if hide else document(value))
        before = value
    return shown
