"""Which ref is checked out, what is never overwritten for it, and what never runs on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.git import repo
from reconciler.engines.local.git.git import GitProblemKind, environment, plain
from reconciler.engines.local.git.git_world import GitWorld
from tests.support.clones import cloned, git_world, head, refused, work_at_risk
from tests.support.gitrepo import Origin, git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="origin")
def _origin(tmp_path: Path) -> Origin:
    """A local path needs no server."""
    return Origin(tmp_path / "origin")


HOOKS = ("post-checkout", "pre-receive", "reference-transaction", "post-index-change", "post-merge")


async def test_every_kind_of_ref_is_checked_out(origin: Origin, tmp_path: Path) -> None:
    """A branch follows the remote's; tags and commits are detached; a hidden commit is fetched."""
    first = origin.commit("a", "one")
    dev = origin.commit("a", "two", branch="feature/x")
    stray = origin.commit("a", "three", branch="gone")
    origin.tag("v1", stray)
    origin.tag("v2", first, "the second")
    git(origin.path, "update-ref", "-d", "refs/heads/gone")
    hidden = origin.commit("a", "four", branch="hidden")
    git(origin.path, "update-ref", "refs/pull/7/head", hidden)
    git(origin.path, "update-ref", "-d", "refs/heads/hidden")
    wanted = {
        None: "main",
        "feature/x": "feature/x",
        "refs/heads/feature/x": "feature/x",
        "v1": stray,
        "v2": first,
        first: first,
        first[:8]: first,
        dev[:10]: dev,
        hidden: hidden,
        "refs/pull/7/head": hidden,
    }

    for number, (ref, expected) in enumerate(wanted.items()):
        clone = await cloned(origin, tmp_path / str(number), ref)
        assert (ref, head(clone)) == (ref, expected)
        assert (ref, await work_at_risk(clone)) == (ref, ())

    assert git(tmp_path / "1", "rev-parse", "--abbrev-ref", "@{upstream}") == "origin/feature/x"


@pytest.mark.parametrize("ref", ["nothing", "deadbeef", "d" * 40, "refs/pull/8/head"])
async def test_a_ref_that_is_not_there_says_so(origin: Origin, tmp_path: Path, ref: str) -> None:
    """Named, and nothing is left."""
    origin.commit("a", "one")

    problem = await refused(cloned(origin, tmp_path / "sb" / "repo", ref))

    assert problem.kind is GitProblemKind.NO_SUCH_REF
    assert ref in str(problem)
    assert {path.name for path in (tmp_path / "sb").iterdir()} <= {".repo.lock", ".repo.fetched"}


@pytest.mark.parametrize(
    ("url", "ref"),
    [
        ("--upload-pack=touch {mark}", None),
        ("ext::sh -c touch% {mark}", None),
        ("-oProxyCommand=touch {mark}:x", None),
        ("ssh://-oProxyCommand=touch%20{mark}/x", None),
        ("git@host:-x", None),
        ("file:///etc", None),
        ("relative/path", None),
        ("/x\0y", None),
        ("{origin}", "--orphan=x"),
        ("{origin}", "-b"),
        ("{origin}", "main; touch {mark}"),
        ("{origin}", "@{u}"),
        ("{origin}", "a..b"),
    ],
)
async def test_nothing_is_taken_for_an_option_or_a_command(origin: Origin, tmp_path: Path, url: str, ref: str) -> None:
    """Whatever was validated before: the last step checks too."""
    origin.commit("a", "one")
    mark = tmp_path / "mark"
    url, ref = (text and text.replace("{mark}", str(mark)).replace("{origin}", str(origin.path)) for text in (url, ref))

    await refused(repo.clone(url, ref, tmp_path / "sb" / "repo", world=git_world()))

    assert not mark.exists()
    assert not (tmp_path / "sb" / "repo").exists()


async def test_a_default_branch_that_looks_like_an_option_is_refused(origin: Origin, tmp_path: Path) -> None:
    """The remote names it, and nobody else."""
    git(origin.path, "update-ref", "refs/heads/--orphan=x", origin.commit("a", "one"))
    git(origin.path, "symbolic-ref", "HEAD", "refs/heads/--orphan=x")

    assert "take it for an option" in str(await refused(cloned(origin, tmp_path / "repo")))


async def test_no_hook_of_the_source_runs(origin: Origin, tmp_path: Path) -> None:
    """Cloning is reading."""
    origin.commit("a", "one")
    for hook in HOOKS:
        _program(origin.path / "hooks" / hook, tmp_path / "mark")

    await cloned(origin, tmp_path / "repo")

    assert not (tmp_path / "mark").exists()


async def test_no_program_that_the_clone_names_runs(origin: Origin, tmp_path: Path) -> None:
    """Its hooks and settings are the agent's to write, and the manager looks and switches all the same."""
    mark = tmp_path / "mark"
    first = origin.commit(".gitattributes", "* filter=evil diff=evil\n")
    second = origin.commit("a", "one")
    clone = await cloned(origin, tmp_path / "repo")
    _booby_trap(clone, mark, tmp_path)
    (clone / "new").write_text("x")
    (clone / ".gitattributes").touch()

    assert await work_at_risk(clone) == ("untracked new",)
    await repo.checkout(clone, first, world=git_world())
    await repo.checkout(clone, second, world=git_world())

    assert head(clone) == second
    assert not mark.exists()
    (clone / ".gitattributes").touch()
    with pytest.raises(AssertionError, match="evil"):
        git(clone, "status")
    assert mark.exists(), "the trap does not work"


def _program(path: Path, mark: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    path.chmod(0o755)
    return path


def _booby_trap(clone: Path, mark: Path, folder: Path) -> None:
    evil = _program(folder / "evil", mark)
    for hook in HOOKS:
        _program(clone / ".git" / "hooks" / hook, mark)
    config = clone / ".git" / "config"
    names = ("fsmonitor", "sshCommand", "pager", "editor", "alternateRefsCommand", "gitProxy", "askPass")
    settings = "".join(f"\t{name} = {evil}\n" for name in names)
    config.write_text(
        f"{config.read_text()}[core]\n{settings}\thooksPath = {clone / '.git' / 'hooks'}\n"
        f'[filter "evil"]\n\tclean = {evil}\n\tsmudge = {evil}\n\tprocess = {evil}\n\trequired = true\n'
        f'[diff "evil"]\n\ttextconv = {evil}\n\tcommand = {evil}\n[remote "origin"]\n\tuploadpack = {evil}\n'
    )


async def test_the_ref_is_changed_in_place(origin: Origin, tmp_path: Path) -> None:
    """To a new branch, a tag, a commit, and back to the default branch as it is by then."""
    first = origin.commit("a", "one")
    clone = await cloned(origin, tmp_path / "repo")
    origin.commit("a", "two", branch="dev")
    stray = origin.commit("a", "three", branch="gone")
    origin.tag("v1", stray)
    git(origin.path, "update-ref", "-d", "refs/heads/gone")
    newest = origin.commit("b", "four", branch="main")

    seen = []
    for ref in ("dev", "v1", first, None):
        await repo.checkout(clone, ref, world=git_world())
        seen.append(head(clone))

    assert seen == ["dev", stray, first, "main"]
    assert git(clone, "rev-parse", "HEAD") == newest
    assert git(clone, "rev-parse", "--abbrev-ref", "dev@{upstream}") == "origin/dev"
    assert await work_at_risk(clone) == ()


async def test_changing_the_ref_never_overwrites_work(origin: Origin, tmp_path: Path) -> None:
    """Changed files, untracked files, commits on no branch, a merge in progress: each refuses, and stays."""
    first = origin.commit("a", "one")
    clone = await cloned(origin, tmp_path / "repo")
    origin.commit("a", "two", branch="dev")
    origin.commit("b", "three", branch="dev")

    (clone / "a").write_text("mine")
    changed = await refused(repo.checkout(clone, "dev", world=git_world()))
    git(clone, "checkout", "a")
    (clone / "b").write_text("mine")
    untracked = await refused(repo.checkout(clone, "dev", world=git_world()))
    git(clone, "switch", "--detach", first)
    git(clone, "add", "b")
    git(clone, "commit", "--quiet", "--message", "mine")
    stranded = await refused(repo.checkout(clone, "main", world=git_world()))

    assert {problem.kind for problem in (changed, untracked, stranded)} == {GitProblemKind.DIRTY}
    assert "is on no branch" in str(stranded)
    assert (clone / "b").read_text() == "mine"
    git(clone, "switch", "--quiet", "--create", "saved")
    await repo.checkout(clone, "main", world=git_world())
    assert head(clone) == "main"


async def test_work_that_is_not_in_the_way_is_carried_over(origin: Origin, tmp_path: Path) -> None:
    """As git does; and a branch with commits of its own is left as it is."""
    origin.commit("a", "one")
    clone = await cloned(origin, tmp_path / "repo")
    origin.commit("a", "two", branch="dev")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "mine")
    mine = git(clone, "rev-parse", "HEAD")
    (clone / "notes").write_text("mine")
    origin.commit("a", "three", branch="main")

    await repo.checkout(clone, "dev", world=git_world())
    await repo.checkout(clone, "main", world=git_world())

    assert git(clone, "rev-parse", "HEAD") == mine
    assert (clone / "notes").read_text() == "mine"


async def test_a_missing_ref_changes_nothing(origin: Origin, tmp_path: Path) -> None:
    """The old one stays checked out."""
    origin.commit("a", "one")
    clone = await cloned(origin, tmp_path / "repo")

    problem = await refused(repo.checkout(clone, "nothing", world=git_world()))

    assert problem.kind is GitProblemKind.NO_SUCH_REF
    assert head(clone) == "main"


def test_our_git_asks_nobody_and_takes_no_other_repository_for_the_one_meant() -> None:
    """Whatever the world of a project says; the rest of that is in force."""
    known = environment(
        GitWorld(environment={"GIT_DIR": "/x", "GIT_TERMINAL_PROMPT": "1", "GIT_SSH_COMMAND": "ssh -x"})
    )

    assert "GIT_DIR" not in known
    assert (known["GIT_TERMINAL_PROMPT"], known["GIT_ALLOW_PROTOCOL"]) == ("0", "ssh:https:file")
    assert known["GIT_SSH_COMMAND"] == "ssh -x"


def test_what_a_remote_says_is_printable_and_without_credentials() -> None:
    """It goes to terminals and into status."""
    assert plain("fatal: \x1b[2Jfor https://joe:pass@host/x: no.") == "for https://host/x: no"
    assert plain("at ssh://git@host/x") == "at ssh://git@host/x"
