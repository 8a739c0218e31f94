"""Cloning and changing the ref: real git over a real SSH server."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from reconciler.engines.local.facts import RepoFacts
from reconciler.engines.local.git import repo
from reconciler.engines.local.git.git import GitProblemKind
from reconciler.engines.local.git.git_world import GitWorld
from reconciler.engines.local.secrets import ssh_keys
from tests.support import sshd
from tests.support.clones import cloned, git_world, head, refused, work_at_risk
from tests.support.gitfaults import REAL_GIT, Programs
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.sshd import SshServer

LIMIT = 60.0
BIG = 3_000_000
"""Bytes that do not compress: a clone of them can be interrupted."""


class Place:
    """An origin, a server before it, a key, and where the clone goes."""

    def __init__(self, folder: Path, server: SshServer) -> None:
        self.folder = folder
        self.server = server
        self.origin = Origin(folder / "origin")
        self.first = self.origin.commit("README", "one\n")
        self.key = folder / "keys" / "app-deploy"
        self.known_hosts = folder / "known_hosts"
        self.clone = folder / "sandbox" / "repo"

    @property
    def url(self) -> str:
        return self.server.url(self.origin.path)

    @property
    def ssh(self) -> str:
        return ssh_keys.ssh_command(self.key, self.known_hosts)

    async def let_in(self) -> None:
        await ssh_keys.generate_key(self.key, comment="app")
        self.server.authorize(self.key.with_name("app-deploy.pub").read_text())

    async def make(self, ref: str | None = None, **more: object) -> None:
        on_progress = more.get("on_progress")
        assert on_progress is None or callable(on_progress)
        await repo.clone(self.url, ref, self.clone, world=git_world(self.ssh), on_progress=on_progress)

    def left(self) -> list[str]:
        """What lies beside the clone and its lock."""
        return sorted({path.name for path in self.clone.parent.iterdir()} - {"repo", ".repo.lock"})


@pytest.fixture(name="place", params=sshd.kinds(), ids=lambda kind: kind.kind)
def _place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Over every kind of SSH server there is here."""
    with request.param(tmp_path / "ssh") as server:
        yield Place(tmp_path, server)


@pytest.fixture(name="origin")
def _origin(tmp_path: Path) -> Origin:
    """A local path needs no server."""
    return Origin(tmp_path / "origin")


async def test_adding_the_key_is_enough(place: Place) -> None:
    """Refused first; the same call works as soon as the key is there, and says how far it is."""
    await ssh_keys.generate_key(place.key, comment="app")
    problem = await refused(place.make())
    assert problem.kind is GitProblemKind.NO_ACCESS
    assert "Permission denied" in str(problem)
    assert repo.repo_facts(place.clone) == RepoFacts()

    lines: list[str] = []
    await place.let_in()
    await repo.test_access(place.url, world=git_world(place.ssh))
    await place.make(on_progress=lines.append)

    assert repo.repo_facts(place.clone) == RepoFacts(cloned=True, url=place.url)
    assert (place.clone / "README").read_text() == "one\n"
    assert "receiving objects 100%" in lines
    assert place.left() == []


async def test_the_clone_can_push(place: Place) -> None:
    """With the same command for ssh, as the agent will."""
    await place.let_in()
    await place.make()
    (place.clone / "new").write_text("x")
    git(place.clone, "add", "new")
    git(place.clone, "commit", "--quiet", "--message", "new")

    git(place.clone, "-c", f"core.sshCommand={place.ssh}", "push", "--quiet", "origin", "main")

    assert git(place.origin.path, "rev-parse", "main") == git(place.clone, "rev-parse", "HEAD")
    assert await work_at_risk(place.clone) == ()


async def test_every_git_runs_within_what_confines_it(origin: Origin, tmp_path: Path) -> None:
    """From the first question to the last: a git that is started without it refuses to run here."""
    origin.commit("a", "one")
    origin.commit("a", "two", branch="dev")
    programs = Programs(tmp_path / "bin")
    programs.add("git", f'[ "$CONFINED" = yes ] || exit 77\nexec {REAL_GIT} "$@"')
    inside = GitWorld(environment={**git_world().environment, "PATH": programs.path}, wrapper=("env", "CONFINED=yes"))
    outside = replace(inside, wrapper=())
    clone = tmp_path / "sandbox" / "repo"

    await repo.test_access(str(origin.path), world=inside)
    await repo.clone(str(origin.path), None, clone, world=inside)
    await repo.checkout(clone, "dev", world=inside)
    assert await repo.work_at_risk(clone, inside) == ()
    assert "code 77" in str(await refused(repo.test_access(str(origin.path), world=outside)))
    assert "code 77" in (await repo.work_at_risk(clone, outside))[0]


async def test_another_host_key_is_never_accepted(place: Place) -> None:
    """The first one is pinned; the problem says where, for the case that the change is known."""
    await place.let_in()
    await repo.test_access(place.url, world=git_world(place.ssh))
    place.server.change_host_key()

    problem = await refused(place.make())

    assert problem.kind is GitProblemKind.HOST_KEY_CHANGED
    assert f"line 1 of {place.known_hosts}" in str(problem)


async def test_a_repository_that_is_not_there_is_no_access(place: Place) -> None:
    """Forges say the same for both, so the key is asked for."""
    await place.let_in()

    url = place.server.url(place.folder / "nothing.git")
    problem = await refused(repo.test_access(url, world=git_world(place.ssh)))

    assert problem.kind is GitProblemKind.NO_ACCESS


async def test_a_server_that_dies_in_the_middle_leaves_nothing(place: Place) -> None:
    """The half that came is no clone; the next attempt is whole."""
    await place.let_in()
    place.origin.commit("big", os.urandom(BIG))
    place.server.stall_after(BIG // 2)
    attempt = asyncio.create_task(place.make())
    await asyncio.to_thread(place.server.wait_stalled)
    place.server.drop_connections()

    problem = await refused(asyncio.wait_for(attempt, LIMIT))

    assert problem.kind is GitProblemKind.UNREACHABLE
    assert repo.repo_facts(place.clone) == RepoFacts()
    assert place.left() == []
    place.server.stall_after(-1)
    await place.make()
    assert (place.clone / "big").stat().st_size == BIG


async def test_a_clone_cancelled_in_the_middle_leaves_nothing(place: Place) -> None:
    """No folder, no process."""
    await place.let_in()
    place.origin.commit("big", os.urandom(BIG))
    place.server.stall_after(BIG // 2)
    attempt = asyncio.create_task(place.make())
    await asyncio.to_thread(place.server.wait_stalled)
    attempt.cancel()

    with pytest.raises(asyncio.CancelledError):
        await attempt

    assert place.left() == []
    assert clients(place) == []


async def test_a_server_that_never_answers_can_be_left(place: Place) -> None:
    """Cancelling ends git and ssh at once."""
    await place.let_in()
    place.server.hang()
    attempt = asyncio.create_task(place.make())
    await asyncio.to_thread(place.server.wait_connected)
    attempt.cancel()

    with pytest.raises(asyncio.CancelledError):
        await attempt

    assert clients(place) == []


def clients(place: Place) -> list[psutil.Process]:
    """Our git and ssh processes that speak to this server."""
    marks = (str(place.known_hosts), place.url)
    family = psutil.Process().children(recursive=True)
    return [child for child in family if any(mark in word for word in words(child) for mark in marks)]


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


async def test_a_closed_port_is_unreachable(place: Place) -> None:
    """It may pass, so it is tried again: unlike a refused key."""
    await place.let_in()
    url = place.url.replace(f":{place.server.port}/", ":1/")

    assert (await refused(repo.test_access(url, world=git_world(place.ssh)))).kind is GitProblemKind.UNREACHABLE


async def test_two_clones_into_one_place_make_one(place: Place) -> None:
    """One works, the other says so or finds it done; nothing is mixed."""
    await place.let_in()

    results = await asyncio.gather(place.make(), place.make(), return_exceptions=True)

    problems = [str(result) for result in results if result is not None]
    assert all("is in progress" in problem for problem in problems)
    assert len(problems) < 2
    assert repo.repo_facts(place.clone).cloned
    assert place.left() == []
    await place.make()


async def test_a_local_path_is_copied(origin: Origin, tmp_path: Path) -> None:
    """No file is shared with the source: spoiling one spoils only one."""
    origin.commit("a", "one")

    clone = await cloned(origin, tmp_path / "sb" / "repo")

    assert (clone / "a").read_text() == "one"
    assert all(path.stat().st_nlink == 1 for path in (clone / ".git" / "objects").rglob("*") if path.is_file())
    assert repo.repo_facts(clone) == RepoFacts(cloned=True, url=str(origin.path))


async def test_the_recorded_url_is_the_one_of_the_spec(origin: Origin, tmp_path: Path) -> None:
    """A relative path of a spec stays what the spec says."""
    await repo.clone(str(origin.path), None, tmp_path / "repo", world=git_world(), recorded_url="../origin")

    assert repo.repo_facts(tmp_path / "repo").url == "../origin"


async def test_a_path_without_a_repository_is_no_access(tmp_path: Path) -> None:
    """And nothing is made."""
    problem = await refused(repo.clone(str(tmp_path / "no"), None, tmp_path / "sb" / "repo", world=git_world()))

    assert problem.kind is GitProblemKind.NO_ACCESS


async def test_an_empty_repository_is_a_clone_too(origin: Origin, tmp_path: Path) -> None:
    """Its first commit will be the agent's; a ref it cannot have."""
    clone = await cloned(origin, tmp_path / "repo")
    await repo.checkout(clone, None, world=git_world())
    problem = await refused(cloned(origin, tmp_path / "other", "main"))

    assert repo.repo_facts(clone).cloned
    assert head(clone) == "main"
    assert await work_at_risk(clone) == ()
    assert problem.kind is GitProblemKind.NO_SUCH_REF


async def test_what_lies_in_the_way_is_never_touched(origin: Origin, tmp_path: Path) -> None:
    """A folder that is not ours, a file, a link: a problem, and everything still there."""
    origin.commit("a", "one")
    folder, file, link = tmp_path / "folder", tmp_path / "file", tmp_path / "link"
    folder.mkdir()
    (folder / "precious").write_text("x")
    file.write_text("x")
    link.symlink_to(folder)

    for place in (folder, file, link):
        assert repo.repo_facts(place).problem.startswith(f"cannot use {place}")
        await refused(cloned(origin, place))

    assert (folder / "precious").read_text() == file.read_text() == "x"
    assert link.is_symlink()


async def test_an_empty_folder_is_no_obstacle(origin: Origin, tmp_path: Path) -> None:
    """Whoever made it, there is nothing to lose."""
    origin.commit("a", "one")
    (tmp_path / "repo").mkdir()

    assert (await cloned(origin, tmp_path / "repo") / "a").exists()


async def test_a_clone_of_somebody_else_is_not_taken_for_ours(origin: Origin, tmp_path: Path) -> None:
    """A partial clone looks like one: only the mark, written last, makes it whole."""
    origin.commit("a", "one")
    git(tmp_path, "clone", "--quiet", str(origin.path), "repo")

    assert "no clone made by the manager" in repo.repo_facts(tmp_path / "repo").problem


async def test_leftovers_of_a_killed_clone_are_removed(origin: Origin, tmp_path: Path) -> None:
    """At the next attempt."""
    origin.commit("a", "one")
    leftover = tmp_path / "sb" / ".repo.deadbeef.partial"
    (leftover / ".git" / "objects").mkdir(parents=True)
    (leftover / ".git" / "objects" / "pack").write_text("half")

    await cloned(origin, tmp_path / "sb" / "repo")

    assert not leftover.exists()


async def test_a_damaged_clone_is_a_problem(origin: Origin, tmp_path: Path) -> None:
    """It is neither used nor replaced: there may be work in it."""
    origin.commit("a", "one")
    clone = await cloned(origin, tmp_path / "repo")
    (clone / ".git" / "HEAD").unlink()

    assert repo.repo_facts(clone).problem.startswith("cannot use")
    assert (await work_at_risk(clone))[0].startswith("cannot tell")


async def test_the_ref_is_changed_over_ssh(place: Place) -> None:
    """Fetched with the project's key."""
    await place.let_in()
    await place.make()
    place.origin.commit("a", "two", branch="dev")

    await repo.checkout(place.clone, "dev", world=git_world(place.ssh))

    assert head(place.clone) == "dev"


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("git@github.com:user/blog-api.git", ": https://github.com/user/blog-api/settings/keys/new"),
        ("ssh://git@gitlab.com/a/b/c", ": https://gitlab.com/a/b/c/-/settings/repository#js-deploy-keys-settings"),
        ("git@git.example.org:user/x.git", ""),
        ("/home/alex/x", ""),
    ],
)
def test_the_page_to_add_the_key_is_named(url: str, page: str) -> None:
    """For the forges that are known."""
    assert repo.key_page(url) == page


def test_the_ssh_server_leaves_nothing(tmp_path: Path) -> None:
    """No thread and no process, whatever it was doing."""
    threads, children = threading.active_count(), len(psutil.Process().children(recursive=True))

    for number, kind in enumerate(sshd.kinds()):
        with kind(tmp_path / str(number)) as server:
            assert server.port > 0

    assert threading.active_count() == threads
    assert len(psutil.Process().children(recursive=True)) <= children
