"""Report an unexpected error: one sentence for the user, and the traceback in a file that the sentence names."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import time
import traceback
from pathlib import Path
from typing import Final

from reconciler import settings

FILE: Final = "errors.log"
"""In the controller's folder, or below the system's folder for temporary files where that folder is not ours."""
MAX_BYTES: Final = 1_000_000
"""Beyond this the file begins again: a bug report needs the last errors."""


def sentence(error: BaseException) -> str:
    """Return what to tell the user about an unexpected error, and write its traceback to a file."""
    path = _record(error)
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    details = f"details in {path}; please report it with that file" if path else "no file could be written; report it"
    return f"cannot go on: unexpected {type(error).__name__}, which is a bug; {details}"


def _record(error: BaseException) -> Path | None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = f"{stamp} pid {os.getpid()}\n{_without_secrets(error)}\n"
    for path in _places():
        with contextlib.suppress(OSError):
            full = path.exists() and path.stat().st_size > MAX_BYTES
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if full else os.O_APPEND)
            with open(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123  a number
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    continue  # somebody else's, who would read what we write
                file.write(text)
            return path
    return None


def _without_secrets(error: BaseException) -> str:
    """Return the traceback, without the messages of the errors where secrets cannot be redacted."""
    with contextlib.suppress(ImportError, OSError, MemoryError):
        log = importlib.import_module("reconciler.system.log")
        redacted: str = log.redact_text("".join(traceback.format_exception(error)))
        return redacted
    return "".join([*traceback.format_tb(error.__traceback__), type(error).__name__])


def _places() -> list[Path]:
    """Return where it may be written: no folder is created for it."""
    places = []
    with contextlib.suppress(settings.UserError, OSError):
        folder = settings.load(needed=()).home.controller
        if folder.is_dir() and folder.stat().st_uid == os.geteuid():
            places.append(folder / FILE)
    with contextlib.suppress(OSError):
        places.append(Path(tempfile.gettempdir()) / f"opencode-manager-{os.geteuid()}-{FILE}")
    return places
