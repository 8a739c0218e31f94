"""What a message asks a person to do when git refuses: each sentence says where and how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from reconciler.core import spec as specs
from reconciler.core.actions import Blocked
from reconciler.engines.base import Events
from reconciler.engines.local.act import Actor
from reconciler.engines.local.actions import CloneRepo, PrepareSandbox
from reconciler.engines.local.observe import Observer
from reconciler.engines.local.toolchain import Toolchains
from reconciler.state.ledger import Ledgers
from tests.support.fakecontroller import make_settings
from tests.support.gitrepo import Origin, git
from tests.support.tlsgate import nothing_over_https

if TYPE_CHECKING:
    from pathlib import Path


async def refused(folder: Path, url: str, ref: str | None = None, **environment: str) -> Blocked:
    """What is told after a real git was asked for a clone that it cannot make."""
    settings = make_settings(folder, **environment)
    ledgers, toolchains = Ledgers(settings.home), Toolchains(settings)
    spec = specs.parse({"git": {"url": url, "ref": ref}})
    ledgers.accept("app", spec)
    actor = Actor(settings, ledgers, Events(), Observer(settings, toolchains, None), toolchains, cast("Any", None))
    for action in (PrepareSandbox(cause="there is none"), CloneRepo(cause="there is none")):
        outcome = await actor.perform("app", spec, action)
    assert isinstance(outcome, Blocked)
    return outcome


async def test_a_repository_that_is_not_there_over_https_may_be_a_private_one(tmp_path: Path) -> None:
    """Then it needs its ssh url."""
    with nothing_over_https(tmp_path) as (url, certificate):
        trusted = {"GIT_SSL_CAINFO": str(certificate), "NO_PROXY": "127.0.0.1"}
        failure = await refused(tmp_path, f"{url}/me/x.git", **trusted)

    assert failure.reason == "NoAccess"
    assert failure.message.startswith(f"cannot reach {url}/me/x.git: ")
    assert "a private repository needs its ssh url" in failure.message


async def test_a_folder_that_is_no_repository_is_reported(tmp_path: Path) -> None:
    """Or this user may not read it."""
    (tmp_path / "empty").mkdir()

    failure = await refused(tmp_path, str(tmp_path / "empty"))

    assert failure.reason == "NoAccess"
    assert failure.message.startswith(f"cannot reach {tmp_path / 'empty'}: ")
    assert "let this user read that folder: it must hold a git repository" in failure.message


async def test_a_missing_branch_is_reported_with_what_to_set(tmp_path: Path) -> None:
    """In the spec."""
    origin = Origin(tmp_path / "origin")
    origin.commit("a", "one")

    failure = await refused(tmp_path, str(origin.path), "nope")

    assert failure.reason == "RefNotFound"
    assert failure.message.startswith(f"cannot find nope in {origin.path}: ")
    assert "set git.ref in the spec to one that is there" in failure.message


async def test_a_name_without_a_host_is_asked_back(tmp_path: Path) -> None:
    """People mean the hoster that everybody uses."""
    failure = await refused(tmp_path, "u/r")

    assert failure.reason == "NoAccess"
    assert "did you mean https://github.com/u/r or git@github.com:u/r?" in failure.message


async def test_a_repository_without_one_of_its_objects_is_reported_as_damaged(tmp_path: Path) -> None:
    """There, not here."""
    origin = Origin(tmp_path / "origin")
    origin.commit("a", "one")
    blob = git(origin.path, "rev-parse", "main:a")
    next(origin.path.rglob(f"objects/{blob[:2]}/{blob[2:]}")).unlink()

    failure = await refused(tmp_path, str(origin.path))

    assert failure.reason == "RepositoryDamaged"
    assert "repair that repository" in failure.message


async def test_files_that_cannot_be_written_do_not_cost_another_transfer(tmp_path: Path) -> None:
    """As with a name that is too long for this machine."""
    origin = Origin(tmp_path / "origin")
    origin.commit("a", "one")
    blob = git(origin.path, "rev-parse", "main:a")
    git(origin.path, "update-index", "--add", "--cacheinfo", f"100644,{blob},{'x' * 300}")
    commit = git(origin.path, "commit-tree", git(origin.path, "write-tree"), "-m", "Too long")
    git(origin.path, "update-ref", "refs/heads/main", commit)

    failure = await refused(tmp_path, str(origin.path))

    assert failure.reason == "CheckoutFailed"
    assert "what is there is not transferred again" in failure.message
