"""The folder of demands: small files by which a frontend asks for what is no spec, and what became of each.

A frontend writes `ID.json`, rings the bell and waits for `ID.outcome`. The bell is a FIFO: it costs an idle controller
nothing, and a demand whose ring was lost is found by the next poll.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from reconciler.core import answers
from reconciler.core.answers import AnswerRecord, Demand
from reconciler.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from reconciler.core.history import Author
    from reconciler.settings import Home

LONGEST: Final = 64 * 1024
"""Bytes of a demand."""
EXPIRES: Final = 600.0
"""Seconds after which an outcome that nobody has read is deleted."""
_DEMAND, _OUTCOME, _BELL = ".json", ".outcome", "bell"


def folder(home: Home) -> Path:
    """Return where demands are."""
    return home.controller / "demands"


def write(home: Home, project: str, need: str, words: Sequence[str], author: Author) -> Demand:
    """Ask the controller to give this answer. Raises OSError."""
    wall = time.time()
    name = f"{time.time_ns():020d}-{secrets.token_hex(8)}"
    demand = Demand(id=name, project=project, need=need, words=tuple(words), author=author, written=wall)
    files.private_folder(folder(home))
    files.replace_file(folder(home) / f"{name}{_DEMAND}", json.dumps(asdict(demand)).encode())
    ring(home)
    return demand


def pending(home: Home) -> list[Demand]:
    """Return all demands, the oldest first; what is none is deleted."""
    return [demand for path in _listed(home, _DEMAND) if (demand := _read(path)) is not None]


def _read(path: Path) -> Demand | None:
    data = files.read_json(path) if path.stat().st_size <= LONGEST else None
    try:
        if data is not None and data["id"] == path.name.removesuffix(_DEMAND):
            words, written = tuple(map(str, data["words"])), float(data["written"])
            author = answers.author_of(data["author"])
            return Demand(**{**data, "words": words, "written": written, "author": author})
    except (LookupError, TypeError, ValueError):
        pass
    path.unlink(missing_ok=True)
    return None


def conclude(home: Home, record: AnswerRecord) -> None:
    """Tell the frontend what became of its demand, and delete that. Raises OSError."""
    path = folder(home) / f"{record.demand}{_OUTCOME}"
    files.replace_file(path, json.dumps(record.to_dict()).encode(), durable=False)
    (folder(home) / f"{record.demand}{_DEMAND}").unlink(missing_ok=True)


def outcome(home: Home, demand: Demand) -> AnswerRecord | None:
    """Return what became of a demand, once; None: nothing yet."""
    path = folder(home) / f"{demand.id}{_OUTCOME}"
    data = files.read_json(path)
    if data is None:
        return None
    path.unlink(missing_ok=True)
    return answers.of_dict(data)


def withdraw(home: Home, demand: Demand) -> bool:
    """Take a demand back; False: it was taken up before."""
    try:
        (folder(home) / f"{demand.id}{_DEMAND}").unlink()
    except FileNotFoundError:
        return False
    return True


def prune(home: Home) -> None:
    """Delete outcomes that nobody has read."""
    for path in _listed(home, _OUTCOME):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > EXPIRES:
                path.unlink()


def _listed(home: Home, suffix: str) -> Iterator[Path]:
    try:
        names = sorted(name for name in os.listdir(folder(home)) if name.endswith(suffix) and not name.startswith("."))  # noqa: PTH208
    except OSError:
        return
    yield from (folder(home) / name for name in names)


# -- the bell ----------------------------------------------------------------------------------------------------------


def open_bell(home: Home) -> int:
    """Return a descriptor that becomes readable when somebody rings. Raises OSError."""
    path = files.private_folder(folder(home)) / _BELL
    if not _is_bell(path):
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def heard(bell: int) -> None:
    """Let the bell be silent again."""
    with contextlib.suppress(BlockingIOError):
        while os.read(bell, 4096):
            pass


def ring(home: Home) -> None:
    """Wake the controller, should one run."""
    path = folder(home) / _BELL
    with contextlib.suppress(OSError):
        if not _is_bell(path):
            return
        bell = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(bell, b"!")
        finally:
            os.close(bell)


def _is_bell(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.lstat().st_mode)
    except OSError:
        return False
