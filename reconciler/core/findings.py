"""What `doctor` says of a machine and an installation: a line each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    """It works, and something could be better, or nobody can tell."""
    PROBLEM = "problem"
    """Something does not work, or will not for long."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line."""

    area: str
    level: Level
    message: str
    """A clause."""
    cure: str = ""
    """What to do about it, in the imperative; empty where all is well."""


def good(area: str, message: str) -> Finding:
    """Return that something is as it must be."""
    return Finding(area=area, level=Level.OK, message=message)


def note(area: str, message: str, cure: str) -> Finding:
    """Return that something could be better."""
    return Finding(area=area, level=Level.NOTE, message=message, cure=cure)


def problem(area: str, message: str, cure: str) -> Finding:
    """Return that something does not work."""
    return Finding(area=area, level=Level.PROBLEM, message=message, cure=cure)
