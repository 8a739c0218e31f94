"""Every reason has a sentence, and the reference page is made of them."""

from __future__ import annotations

from pathlib import Path

from reconciler.core import actions as core
from reconciler.core.actions import Action
from reconciler.core.reasons import SENTENCES, Reason, page
from reconciler.engines.local import actions as local

PAGE = Path(__file__).parents[2] / "examples" / "reasons.md"


def test_every_reason_has_a_sentence() -> None:
    """One that a person can read without knowing the code."""
    assert SENTENCES.keys() == set(Reason)
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in SENTENCES.values())


def test_every_action_has_reasons_of_its_own() -> None:
    """Of a condition while it is planned, and when it failed."""
    kinds = [kind for kind in Action.__subclasses__() if kind.__module__ in {core.__name__, local.__name__}]

    assert len({kind.reason for kind in kinds} | {kind.failed for kind in kinds}) == 2 * len(kinds)


def test_the_reference_page_is_the_code() -> None:
    """Make it again with: python -m reconciler.core.reasons > examples/reasons.md."""
    if PAGE.parent.is_dir():  # not where only the wheel is installed
        assert PAGE.read_text() == page()
