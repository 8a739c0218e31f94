"""Edits beside the specs: what a person did is told once, and what we did never."""

from __future__ import annotations

from reconciler.edits import Edits


def test_an_edit_is_noticed_once() -> None:
    """And what was there at first is none."""
    files = {"app": 1}
    edits = Edits(files.get)

    assert not edits.noticed("app")
    files["app"] = 2
    assert edits.noticed("app")
    assert not edits.noticed("app")


def test_what_we_did_is_no_edit() -> None:
    """But what comes after it is."""
    files = {"app": 1}
    edits = Edits(files.get)
    edits.noticed("app")

    files["app"] = 2
    edits.forgive("app")
    assert not edits.noticed("app")
    files["app"] = 3
    assert edits.noticed("app")


def test_what_was_forgotten_is_new_when_it_comes_back() -> None:
    """As a project that was destroyed and is wanted again."""
    files = {"app": 1}
    edits = Edits(files.get)
    edits.noticed("app")

    edits.forget("app")
    files["app"] = 2
    assert not edits.noticed("app")
