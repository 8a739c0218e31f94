"""Decide what becomes of projects whose spec file is missing.

A missing file stops the project and keeps everything. Many missing at once look like a mistake (a checkout of another
branch, a folder that is not mounted), so nothing is stopped until a person confirms.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.core import spec
from reconciler.core.spec import State

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from reconciler.core.observed import Ledger
    from reconciler.core.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What is known of a project that has no spec file."""

    remembered: bool
    """Whether a spec of it was ever accepted."""
    stopped: bool = False
    """Whether it was stopped for this reason before."""
    confirmed: bool = False
    """Whether a person confirmed that the file is missing on purpose."""
    held: bool = False
    """Whether it was held back before."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about every project without a spec file; each name is in one of the four."""

    forget: tuple[str, ...]
    """Nothing is desired and nothing is remembered."""
    stopped: tuple[str, ...]
    """Stopped earlier: stays so."""
    stop: tuple[str, ...]
    hold: tuple[str, ...]
    """Nothing is done until a person confirms."""
    before: int
    """Spec files that were there, the newly missing ones included."""

    def why_held(self, name: str) -> str:
        """Say why a project is held back and what to do."""
        return (
            f"cannot find {len(self.hold)} of {self.before} spec files that were there, so nothing is stopped; "
            f"put {name}.yaml back, or confirm with: opencode-manager confirm-missing"
        )


def judge(present: int, missing: Mapping[str, Missing]) -> Decision:
    """Decide which projects without a spec file are stopped and which are held back.

    Args:
        present: how many projects still have a file.
        missing: what is known of each that has none.
    """
    known = {name: each for name, each in missing.items() if each.remembered}
    new = {name: each for name, each in known.items() if not each.stopped}
    before = present + len(new)
    unconfirmed = [name for name, each in new.items() if not each.confirmed]
    hold = prune_blocked(before, unconfirmed, [name for name, each in new.items() if each.held])
    return Decision(
        forget=tuple(sorted(missing.keys() - known.keys())),
        stopped=tuple(sorted(known.keys() - new.keys())),
        stop=tuple(sorted(new.keys() - hold)),
        hold=tuple(sorted(hold)),
        before=before,
    )


def is_mass_deletion(present: int, newly_missing: int) -> bool:
    """Return whether so many specs vanished at once that a mistake is likelier than a decision.

    Args:
        present: how many there were before, the missing ones included.
        newly_missing: how many of them are gone.
    """
    return newly_missing > 0 and (newly_missing >= present or newly_missing * 2 > present)


def prune_blocked(present: int, missing: Collection[str], held: Collection[str]) -> set[str]:
    """Return those of the missing, unconfirmed specs on which nothing is done until a person confirms.

    Args:
        present: how many there were before.
        missing: the names of those that are gone.
        held: which were held back before: they stay so, though the others may be back.
    """
    return set(missing) if is_mass_deletion(present, len(missing)) else set(missing).intersection(held)


def last_accepted(ledger: Ledger | None) -> Spec | None:
    """Return the spec that was accepted last, None when there is none that is still valid."""
    if ledger is not None and ledger.spec:
        with contextlib.suppress(spec.SpecError):
            return spec.parse(dict(ledger.spec))
    return None


def stopped(accepted: Spec) -> Spec:
    """Return what is desired of a project whose file is missing: the same, stopped."""
    return accepted.model_copy(update={"state": State.STOPPED.value})
