"""A name and address in ~/.config/git/config, where several managers of dotfiles put them, were not found (F5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import sshd
from tests.support.gitrepo import Origin, git
from tests.support.gituser import GitUser

if TYPE_CHECKING:
    from pathlib import Path

PLACES = {".gitconfig": "", ".config/git/config": "", ".more/git/config": "XDG_CONFIG_HOME"}


@pytest.mark.parametrize("place", PLACES)
async def test_the_identity_is_found_wherever_git_looks(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the commit is pushed with the deploy key, over ssh."""
    user, origin = GitUser(tmp_path, monkeypatch), Origin(tmp_path / "origin")
    origin.commit("a", "one")
    if variable := PLACES[place]:
        user.setenv(variable, str(user.home / ".more"))
    user.has('[user]\n\tname = "Ada \\"A\\" L"\n\temail = ada@example.org\n', place)
    with sshd.best()(tmp_path / "ssh") as server:
        await user.wants(server.url(origin.path)).clone()
        server.authorize(user.settings.home.deploy_key("app").with_name("app-deploy.pub").read_text())
        await user.cloned()
        user.agent("commit", "--quiet", "--allow-empty", "--message", "mine")
        user.agent("push", "--quiet")
    assert git(origin.path, "log", "-1", "--format=%an <%ae>", "main") == 'Ada "A" L <ada@example.org>'
