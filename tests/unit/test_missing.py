"""What becomes of projects whose spec file is missing."""

from __future__ import annotations

import pytest

from reconciler.core.missing import Missing, is_mass_deletion, judge, last_accepted, stopped
from reconciler.core.observed import Ledger
from reconciler.core.spec import State
from tests.unit.worlds import make_spec

NEW = Missing(remembered=True)


@pytest.mark.parametrize(
    ("present", "missing", "mass"),
    [
        (0, 0, False),
        (1, 0, False),
        (1, 1, True),
        (2, 1, False),
        (2, 2, True),
        (3, 2, True),
        (4, 2, False),
        (9, 5, True),
    ],
)
def test_mass_vanish(present: int, missing: int, *, mass: bool) -> None:
    """All, or more than half, at once is likelier a mistake."""
    assert is_mass_deletion(present, missing) is mass


def test_one_of_several_is_stopped() -> None:
    """Nobody has to confirm it."""
    verdict = judge(2, {"app": NEW})

    assert (verdict.stop, verdict.hold) == (("app",), ())


def test_most_at_once_are_held_back_and_the_reason_says_how_many() -> None:
    """Until a person confirms."""
    verdict = judge(1, {"app": NEW, "blog": NEW})

    assert (verdict.stop, verdict.hold) == ((), ("app", "blog"))
    assert verdict.why_held("app").startswith("cannot find 2 of 3 spec files")


def test_one_that_is_confirmed_is_stopped_and_the_others_stay_held() -> None:
    """Though the rest alone would be no mass deletion."""
    held = Missing(remembered=True, held=True)
    confirmed = Missing(remembered=True, held=True, confirmed=True)

    verdict = judge(3, {"app": confirmed, "blog": held})

    assert (verdict.stop, verdict.hold) == (("app",), ("blog",))


def test_one_that_was_stopped_earlier_counts_no_more() -> None:
    """It stays stopped and is not among those that vanish now."""
    verdict = judge(2, {"app": Missing(remembered=True, stopped=True), "blog": NEW})

    assert (verdict.stopped, verdict.stop, verdict.hold) == (("app",), ("blog",), ())


def test_one_without_any_accepted_spec_is_forgotten() -> None:
    """There is nothing to stop."""
    assert judge(0, {"app": Missing(remembered=False)}).forget == ("app",)


def test_what_was_accepted_last_is_desired_as_before_but_stopped() -> None:
    """Where the ledger has it and it is still valid."""
    spec = make_spec()
    found = last_accepted(Ledger(uid="1", spec=spec.model_dump(mode="json")))

    assert found == spec
    assert stopped(spec).wanted is State.STOPPED
    assert last_accepted(Ledger(uid="1", spec={"git": 1})) is None
    assert last_accepted(None) is None
