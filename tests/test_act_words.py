"""What a person is told to do when git refuses: each sentence says where and how it is mended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler import spec as specs
from reconciler.actions import Blocked, CloneRepo
from reconciler.ledger import Ledgers
from reconciler.local import repo
from reconciler.local.act import Actor
from reconciler.local.git import GitProblem, GitProblemKind
from tests.support.fakecontroller import make_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "kind", "reason", "words"),
    [
        (
            "https://example.org/me/x.git",
            GitProblemKind.NO_ACCESS,
            "NoAccess",
            "a private repository needs its ssh url",
        ),
        ("/srv/x", GitProblemKind.NO_ACCESS, "NoAccess", "let this user read that folder"),
        ("/srv/x", GitProblemKind.NO_SUCH_REF, "RefNotFound", "set git.ref in the spec"),
        ("u/r", GitProblemKind.NO_ACCESS, "NoAccess", "did you mean https://github.com/u/r or git@github.com:u/r?"),
        ("/srv/x", GitProblemKind.CHECKOUT, "CheckoutFailed", "is not transferred again"),
        ("/srv/x", GitProblemKind.DAMAGED, "RepositoryDamaged", "repair that repository"),
    ],
)
async def test_what_git_refuses_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, kind: GitProblemKind, reason: str, words: str
) -> None:
    """What git says comes first."""

    async def refused(*_: object, **_named: object) -> None:
        raise GitProblem(kind, "cannot reach it: no")

    settings = make_settings(tmp_path)
    ledgers = Ledgers(settings.home)
    spec = specs.parse({"git": {"url": url}})
    ledgers.accept("app", spec)
    project = SimpleNamespace(sandbox=settings.home.sandbox("app"), ssh_command="")
    nobody: Any = SimpleNamespace(project=lambda *_: project)
    monkeypatch.setattr(repo, "clone", refused)

    outcome = await Actor(settings, ledgers, nobody, nobody, nobody).perform(
        "app", spec, CloneRepo(cause="there is none"), lambda *_: None
    )

    assert isinstance(outcome, Blocked)
    assert outcome.reason == reason
    assert outcome.message.startswith("cannot reach it: no; ")
    assert words in outcome.message
