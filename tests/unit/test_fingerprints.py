"""Edits beside the specs: what a person changed is reported once, and our own changes never."""

from __future__ import annotations

from reconciler.controller.fingerprints import FingerprintTracker


def test_an_edit_is_detected_once() -> None:
    """And what was there at first is none."""
    files = {"app": 1}
    edits = FingerprintTracker(files.get)

    assert not edits.changed("app")
    files["app"] = 2
    assert edits.changed("app")
    assert not edits.changed("app")


def test_what_we_do_is_no_edit() -> None:
    """Neither while we do it nor afterwards; but what comes after it is."""
    files = {"app": 1}
    edits = FingerprintTracker(files.get)
    edits.changed("app")

    with edits.own_changes("app"):
        files["app"] = 2
        assert not edits.changed("app")
    edits.accept("app")
    assert not edits.changed("app")
    files["app"] = 3
    assert edits.changed("app")


def test_what_differs_after_we_failed_may_be_an_edit() -> None:
    """A person may have fixed what was in our way."""
    files = {"app": 1}
    edits = FingerprintTracker(files.get)
    edits.changed("app")

    with edits.own_changes("app"):
        files["app"] = 2

    assert edits.changed("app")


def test_what_was_forgotten_is_new_when_it_comes_back() -> None:
    """As a project that was destroyed and is wanted again."""
    files = {"app": 1}
    edits = FingerprintTracker(files.get)
    edits.changed("app")

    edits.forget("app")
    files["app"] = 2
    assert not edits.changed("app")
