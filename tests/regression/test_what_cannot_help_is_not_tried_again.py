"""A whole transfer is not repeated where it would only fail once more, and is as soon as that has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import cloning, repo
from reconciler.engines.local.git.git import GitProblemKind
from tests.support.clones import git_world
from tests.support.gitrepo import git
from tests.support.gitscenes import Scene, Shared, shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="base", scope="module")
def _base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared(tmp_path_factory.mktemp("transfers")) as base:
        yield base


@pytest.fixture(name="scene")
def _scene(base: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(base, tmp_path, monkeypatch)


async def test_a_full_disk_is_filled_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until more is free than when that began; what is free and what git says is made up, as a full disk needs root."""
    url = str(scene.base.origin.path)
    log = scene.count_clones("echo fatal: write error: No space left on device >&2; exit 128; ")
    monkeypatch.setattr(cloning, "_free", lambda _: 50_000_000)
    first, second = await scene.clone(url), await scene.clone(url)
    tries = len(log.read_text())
    monkeypatch.setattr(cloning, "_free", lambda _: 500_000_000)
    await scene.clone(url)

    assert {first.kind, second.kind} == {GitProblemKind.DISK_FULL}
    assert "no more is free than then: 50.0 MB" in str(second)
    assert (tries, len(log.read_text())) == (2, 4)


async def test_a_damaged_repository_is_transferred_seldom(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """And when it was repaired, all is well."""
    source = scene.copy()
    blob = git(source, "rev-parse", "main:a")
    loose = source / "objects" / blob[:2] / blob[2:]
    loose.rename(scene.folder / "loose")
    log = scene.count_clones()
    first, second = await scene.clone(str(source)), await scene.clone(str(source))
    tries = len(log.read_text())
    (scene.folder / "loose").rename(loose)
    monkeypatch.setattr(cloning, "_DAMAGED_FOR", -1.0)
    await repo.clone(str(source), None, scene.dest, world=git_world())

    assert {first.kind, second.kind} == {GitProblemKind.DAMAGED}
    assert (tries, len(log.read_text())) == (2, 4)
    assert (scene.dest / "a").exists()


async def test_another_url_is_another_matter(scene: Scene) -> None:
    """Nothing is held against it."""
    source = scene.copy()
    (source / "objects" / git(source, "rev-parse", "main:a")[:2]).rename(scene.folder / "loose")
    await scene.clone(str(source))

    assert (await scene.cloned() / "a").exists()
