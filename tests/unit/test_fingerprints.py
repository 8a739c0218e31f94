"""Edits beside the specs: what a person did is told once, and what we did never."""

from __future__ import annotations

from reconciler.controller.fingerprints import FingerprintTracker


def test_an_edit_is_noticed_once() -> None:
    """And what was there at first is none."""
    files = {"app": 1}
    edits = FingerprintTracker(files.get)

    assert not edits.noticed("app")
    files["app"] = 2
    assert edits.noticed("app")
    assert not edits.noticed("app")


def test_what_we_do_is_no_edit() -> None:
    """Neither while we do it nor afterwards; but what comes after it is."""
    files = {"app": 1}
    edits = FingerprintTracker(files.get)
    edits.noticed("app")

    with edits.by_us("app"):
        files["app"] = 2
        assert not edits.noticed("app")
    edits.forgive("app")
    assert not edits.noticed("app")
    files["app"] = 3
    assert edits.noticed("app")


def test_what_differs_after_we_failed_may_be_an_edit() -> None:
    """A person may have mended what was in our way."""
    files = {"app": 1}
    edits = FingerprintTracker(files.get)
    edits.noticed("app")

    with edits.by_us("app"):
        files["app"] = 2

    assert edits.noticed("app")


def test_what_was_forgotten_is_new_when_it_comes_back() -> None:
    """As a project that was destroyed and is wanted again."""
    files = {"app": 1}
    edits = FingerprintTracker(files.get)
    edits.noticed("app")

    edits.forget("app")
    files["app"] = 2
    assert not edits.noticed("app")
