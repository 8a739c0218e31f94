"""A clone was made with the user's way to log in and CA, and called Running: the agent could not fetch (F4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.core.actions import Blocked
from tests.support.gitfaults import Authority, HttpsServer
from tests.support.gitrepo import Origin
from tests.support.gituser import GitUser

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("credentials", ["none", "user"])
async def test_a_login_works_for_both_or_for_neither(
    credentials: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default at the clone, with what to do; with git.credentials: user, both can, and the agent pushes."""
    user, origin = GitUser(tmp_path, monkeypatch), Origin(tmp_path / "origin")
    origin.commit("a", "one")
    authority = Authority(tmp_path / "ca")
    user.has(f"[http]\n\tsslCAInfo = {authority.file}\n[credential]\n\thelper = store\n")
    with HttpsServer(authority.context("x"), origin.path.parent) as server:
        user.has(f"https://ada:HUSH@127.0.0.1%3a{server.port}\n", ".git-credentials")
        outcome = await user.wants(server.url("private/origin.git"), credentials=credentials).clone()
        assert isinstance(outcome, Blocked) == (credentials == "none"), outcome
        if isinstance(outcome, Blocked):
            assert "set git.credentials: user in the spec" in outcome.message
            return
        user.agent(
            "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "--message", "mine"
        )
        user.agent("push", "--quiet", "origin", "main")
        assert await user.work_at_risk() == ()
