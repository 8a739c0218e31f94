"""Configure the log: the controller's own is one JSON object per line, secrets redacted."""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import EventDict, WrappedLogger

MAX_BYTES: Final = 5_000_000
BACKUPS: Final = 3

_SECRET_KEY: Final = re.compile(r"(?i)password|token|secret|authorization|api_?key|private")
_SECRET_TEXT: Final = re.compile(
    r"(?i)(?P<before>(?:password|token|secret|api_?key)['\"]?\s*[:=]\s*['\"]?|bearer\s+|basic\s+|://[^/\s:@]*:)[^\s'\"@,;]{6,}"
)
_KEY_BLOCK: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL
)


def redact_text(text: str) -> str:
    """Return the text with whatever looks like a secret replaced."""
    return _SECRET_TEXT.sub(r"\g<before>[redacted]", _KEY_BLOCK.sub("[redacted]", text))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact an event (a structlog processor): the last line of defence, since no caller must log a secret at all."""
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = "[redacted]"
        elif isinstance(value, str):
            event[key] = redact_text(value)
    return event


def use_stderr() -> None:
    """Send what this command logs to stderr: stdout may be read by a program."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def configure(path: Path) -> None:
    """Send everything, other libraries' records included, to this file (0600)."""
    path.touch(mode=0o600)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=BACKUPS)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("httpx2", "watchfiles", "mcp", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
