"""The clone was made with the user's git settings, and the agent's git had none: each file was changed for it (F1b)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.gitrepo import Origin
from tests.support.gituser import GitUser

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_settings_that_change_content_are_the_agents_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With line ends of the user's, nothing is changed for the agent, and what it commits is what was there."""
    user, origin = GitUser(tmp_path, monkeypatch), Origin(tmp_path / "origin")
    origin.commit("README.md", "one\ntwo\n")
    user.has("[core]\n\tautocrlf = true\n[user]\n\tname = Ada\n\temail = ada@example.org\n")

    await user.wants(origin.path).cloned()
    assert (user.sandbox.repo / "README.md").read_bytes() == b"one\r\ntwo\r\n"
    user.sandbox.repo.joinpath("README.md").touch()  # so that git compares it
    assert user.agent("status", "--porcelain") == ""

    user.agent("commit", "--quiet", "--allow-empty", "--all", "--message", "mine")
    assert user.agent("show", "HEAD:README.md") == "one\ntwo"
