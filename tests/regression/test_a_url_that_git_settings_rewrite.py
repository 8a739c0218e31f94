"""A public https url was made an ssh one by the user's git settings, for which the project had no key (F3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.core.actions import Blocked, Done
from tests.support import sshd
from tests.support.gitrepo import Origin
from tests.support.gituser import GitUser

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_the_key_is_for_what_git_really_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one; the message says where to add it and why; with it, the clone is made and the agent reaches it."""
    user, origin = GitUser(tmp_path, monkeypatch), Origin(tmp_path / "origin")
    origin.commit("a", "one")
    with sshd.best()(tmp_path / "ssh") as server:
        base = server.url(origin.path.parent)
        user.has(f'[url "{base}/"]\n\tinsteadOf = https://example.invalid/\n')
        refused = await user.wants("https://example.invalid/origin.git").clone()
        assert isinstance(refused, Blocked)
        assert refused.reason == "WaitingForKey", refused
        assert f"your git settings make {base}" in refused.message
        assert "add the public key" in refused.message

        server.authorize(user.settings.home.deploy_key("app").with_name("app-deploy.pub").read_text())
        assert isinstance(await user.clone(), Done)
        assert "refs/heads/main" in user.agent("ls-remote", "origin")
