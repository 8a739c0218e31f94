"""Submodules are fetched as a person would, or the warnings say which is missing and why; none can do any harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import repo, submodules
from reconciler.engines.local.secrets import ssh_keys
from tests.support import sshd
from tests.support.clones import cloned, git_world, work_at_risk
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World


@pytest.fixture(name="library")
def _library(tmp_path: Path) -> Origin:
    library = Origin(tmp_path, "library.git")
    library.commit("l", "one")
    return library


@pytest.fixture(name="origin")
def _origin(tmp_path: Path) -> Origin:
    origin = Origin(tmp_path, "origin.git")
    origin.commit("a", "one")
    return origin


def add(origin: Origin, library: Origin, url: str, path: str = "vendor/lib", extra: str = "") -> None:
    """Publish a commit with this library as a submodule, by this url."""
    git(origin.work, "submodule", "--quiet", "add", "--force", "--name", path, str(library.path), path)
    git(origin.work, "config", "--file", ".gitmodules", f"submodule.{path}.url", url)
    with (origin.work / ".gitmodules").open("a") as file:
        file.write(extra)
    git(origin.work, "add", ".gitmodules")
    git(origin.work, "commit", "--quiet", "--message", "with a submodule")
    git(origin.work, "push", "--quiet", "origin", "main")


def warnings(clone: Path) -> tuple[str, ...]:
    return repo.repo_facts(clone).warnings


@pytest.mark.parametrize("url", ["../library.git", "{library}", "./../library.git/"])
async def test_they_are_fetched_with_the_clone(origin: Origin, library: Origin, tmp_path: Path, url: str) -> None:
    """By a relative url or another one; git calls them clean, nothing is lost with them, and no file is shared."""
    add(origin, library, url.replace("{library}", str(library.path)))

    clone = await cloned(origin, tmp_path / "sb" / "repo")

    assert (clone / "vendor" / "lib" / "l").read_text() == "one"
    assert git(clone, "submodule", "status").endswith("vendor/lib (heads/main)")
    assert git(clone, "status", "--porcelain") == ""
    assert await work_at_risk(clone) == ()
    assert warnings(clone) == ()
    objects = (clone / ".git" / "modules" / "vendor" / "lib" / "objects").rglob("*")
    assert all(path.stat().st_nlink == 1 for path in objects if path.is_file())


async def test_those_within_others_are_fetched_too(origin: Origin, library: Origin, tmp_path: Path) -> None:
    """As deep as is allowed, and no deeper."""
    names = [Origin(tmp_path, f"{number}.git") for number in range(submodules.MAX_DEPTH)]
    inner = library
    for outer in names:
        outer.commit("x", "x")
        add(outer, inner, str(inner.path), "in")
        inner = outer
    add(origin, inner, "../3.git", "in")

    clone = await cloned(origin, tmp_path / "repo")

    deep = clone.joinpath(*["in"] * submodules.MAX_DEPTH)
    assert (deep / ".git").exists()
    assert not (deep / "in" / ".git").exists()
    assert len(warnings(clone)) == 1
    assert "submodule in/in/in/in/in (" in warnings(clone)[0]
    assert "too deep" in warnings(clone)[0]


async def test_the_projects_key_fetches_them_over_ssh(origin: Origin, library: Origin, tmp_path: Path) -> None:
    """From the same server, with the same known host."""
    add(origin, library, "../library.git")
    key = tmp_path / "key"
    await ssh_keys.generate_key(key, comment="app")
    with sshd.best()(tmp_path / "ssh") as server:
        server.authorize(key.with_name("key.pub").read_text())
        command = ssh_keys.ssh_command(key, tmp_path / "known_hosts")
        await repo.clone(server.url(origin.path), None, tmp_path / "repo", world=git_world(command))

    assert (tmp_path / "repo" / "vendor" / "lib" / "l").read_text() == "one"
    assert warnings(tmp_path / "repo") == ()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("{library}", "a path of this machine that a repository from elsewhere names"),
        ("file://{library}", "cannot use file://"),
        ("ext::sh -c touch% {mark}", "helper transport"),
        ("-oProxyCommand=touch {mark}:x", "begins with a dash"),
        ("ssh://-oProxyCommand=touch%20{mark}/x", "cannot read it"),
        ("https://me:HUSH@127.0.0.1:1/x", "with a password"),
        ("../" * 30 + "etc", "leads out of the server"),
        ("https://127.0.0.1:1/x", "submodule vendor/lib (https://127.0.0.1:1/x)"),
    ],
)
async def test_a_dangerous_url_of_one_is_refused_and_said(
    origin: Origin, library: Origin, tmp_path: Path, url: str, why: str
) -> None:
    """The project is cloned all the same."""
    mark, key = tmp_path / "mark", tmp_path / "key"
    add(origin, library, url.replace("{mark}", str(mark)).replace("{library}", str(library.path)))
    await ssh_keys.generate_key(key, comment="app")
    with sshd.best()(tmp_path / "ssh") as server:
        server.authorize(key.with_name("key.pub").read_text())
        command = ssh_keys.ssh_command(key, tmp_path / "known_hosts")
        await repo.clone(server.url(origin.path), None, tmp_path / "repo", world=git_world(command))

    (said,) = warnings(tmp_path / "repo")
    assert said.startswith("cannot fetch submodule vendor/lib")
    assert why.removeprefix("cannot ") in said
    assert "git submodule update --init -- vendor/lib" in said
    assert "HUSH" not in said
    assert not mark.exists()
    assert (tmp_path / "repo" / "a").exists()


async def test_no_program_that_gitmodules_names_runs(origin: Origin, library: Origin, tmp_path: Path) -> None:
    """Nor a hook of the library; names that lead elsewhere are passed over."""
    mark = tmp_path / "mark"
    hook = library.path / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    evil = f'[submodule "../../x"]\n\tpath = vendor/lib\n\turl = {library.path}\n'
    add(origin, library, str(library.path), extra=f"\tupdate = !touch {mark}\n{evil}")

    clone = await cloned(origin, tmp_path / "repo")

    assert not mark.exists()
    assert not (clone / ".git" / "x").exists()
    assert not (tmp_path / "x").exists()


async def test_there_are_never_too_many(
    origin: Origin, library: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is said."""
    monkeypatch.setattr(submodules, "MAX_SUBMODULES", 1)
    add(origin, library, str(library.path), "one")
    add(origin, library, str(library.path), "two")

    clone = await cloned(origin, tmp_path / "repo")

    assert (clone / "one" / "l").exists()
    assert ["submodule two (" in text and "too many" in text for text in warnings(clone)] == [True]


async def test_who_fetches_one_by_hand_is_not_warned_any_more(origin: Origin, library: Origin, tmp_path: Path) -> None:
    """The warning tells how."""
    add(origin, library, "../nothing.git")
    clone = await cloned(origin, tmp_path / "repo")
    before = warnings(clone)
    git(clone, "config", "submodule.vendor/lib.url", str(library.path))
    git(clone, "submodule", "--quiet", "update", "--init", "--", "vendor/lib")

    assert "nothing.git" in before[0]
    assert warnings(clone) == ()


async def test_one_that_comes_with_another_ref_is_named(origin: Origin, library: Origin, tmp_path: Path) -> None:
    """In the agent's clone nothing is fetched for us; and back there is nothing to say."""
    first = git(origin.work, "rev-parse", "HEAD")
    add(origin, library, "../library.git")
    clone = await cloned(origin, tmp_path / "repo", first)
    await repo.checkout(clone, "main", world=git_world())
    there = warnings(clone)
    await repo.checkout(clone, first, world=git_world())

    assert "submodule vendor/lib: it came with another git.ref" in there[0]
    assert warnings(clone) == ()


def test_status_says_which_is_missing_and_the_project_runs(
    world: World, origin: Origin, library: Origin, tmp_path: Path
) -> None:
    """As a warning, until somebody fetches it."""
    add(origin, library, "../nothing.git")
    world.light("app")
    world.write("app", f"git: {{url: {tmp_path / 'origin.git'}}}\n")
    world.start()

    status = world.wait("app", lambda status: status["reason"] == "Running")

    (said,) = [text for text in status["warnings"] if "submodule" in text]
    assert said.startswith("cannot fetch submodule vendor/lib (../nothing.git): ")
    assert "vendor/lib" in world.run("status", "app")
