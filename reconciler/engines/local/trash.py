"""Delete for good what nobody needs any more, so that a deletion may be interrupted at any moment."""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

DAY: Final = 86_400.0
"""Seconds."""
_GOING: Final = ".going-"


def delete_older(folder: Path, pattern: str, seconds: float) -> None:
    """Delete the folders that were put into one longer ago than this. Blocking; may be interrupted at any moment.

    Args:
        folder: where.
        pattern: which names; a glob.
        seconds: since it was put there.
    """
    limit = time.time() - seconds
    with contextlib.suppress(OSError):  # another time
        for place in {*folder.glob(pattern), *folder.glob(f"{_GOING}*")}:
            if place.is_symlink() or not place.is_dir():
                continue
            if not place.name.startswith(_GOING):
                if place.lstat().st_ctime >= limit:
                    continue
                # A half deleted folder looks new: only its name marks it.
                place = place.rename(place.with_name(f"{_GOING}{place.name}"))  # noqa: PLW2901
            shutil.rmtree(place, ignore_errors=True)
