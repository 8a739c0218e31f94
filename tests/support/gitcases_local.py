"""Failures of git on this machine: settings, programs, limits, repositories, filters and clones, each broken.

What is expected of them stands in `tests/regression/test_git_failures.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.engines.local.git import repo
from tests.support.clones import git_world, refused
from tests.support.gitcases import SECRET
from tests.support.gitfaults import REAL_GIT
from tests.support.gitrepo import git
from tests.support.gitscenes import LFS, LFS_PROCESS

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.engines.local.git.git import GitProblem
    from tests.support.gitscenes import Scene


async def user_settings_make_ssh_of_https(scene: Scene) -> GitProblem:
    scene.user_settings(
        f'[url "ssh://git@127.0.0.1:{scene.base.forge.port}/"]\n\tinsteadOf = https://example.invalid/\n'
    )
    scene.base.forge.says("u/r", "ERROR: Repository not found.\n")
    return await scene.reach("https://example.invalid/u/r")


async def user_settings_with_a_token(scene: Scene) -> GitProblem:
    scene.user_settings(f'[url "https://{SECRET}@127.0.0.1:1/"]\n\tinsteadOf = https://example.invalid/\n')
    return await scene.reach("https://example.invalid/u/r")


async def user_settings_are_broken(scene: Scene) -> GitProblem:
    scene.user_settings("[broken\n")
    return await scene.reach(str(scene.base.origin.path))


async def git_is_not_installed(scene: Scene) -> GitProblem:
    scene.setenv("PATH", str(scene.folder))
    return await scene.reach(str(scene.base.origin.path))


async def git_is_too_old(scene: Scene) -> GitProblem:
    scene.program(
        "git", f'case "$*" in *" clone "*) exec {REAL_GIT} clone --not-yet-known;; esac; exec {REAL_GIT} "$@"'
    )
    return await scene.clone(str(scene.base.origin.path))


async def git_may_open_no_more_files(scene: Scene) -> GitProblem:
    scene.git_within("ulimit -n 6")
    return await scene.reach(str(scene.base.origin.path))


async def git_may_write_no_large_file(scene: Scene) -> GitProblem:
    scene.git_within('trap "" XFSZ; ulimit -f 50')
    return await scene.clone(str(scene.base.origin.path))


async def path_is_not_there(scene: Scene) -> GitProblem:
    return await scene.reach(str(scene.folder / "nothing"))


async def path_is_no_repository(scene: Scene) -> GitProblem:
    return await scene.reach(str(scene.folder))


async def path_is_a_file(scene: Scene) -> GitProblem:
    (scene.folder / "file").write_text("x")
    return await scene.reach(str(scene.folder / "file"))


async def path_may_not_be_read(scene: Scene) -> GitProblem:
    source = scene.copy()
    scene.setenv("HOME", "/nonexistent")
    with scene.unreadable():
        return await refused(repo.test_access(str(source), world=git_world()))


async def repository_of_somebody_else(scene: Scene) -> GitProblem:
    scene.tell_git("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its own tests of this
    return await scene.reach(str(scene.base.origin.path))


def objects(source: Path) -> list[Path]:
    found = sorted(source.glob("objects/??/*"))
    for path in found:
        path.chmod(0o644)
    return found


async def source_with_empty_objects(scene: Scene) -> GitProblem:
    source = scene.copy()
    for path in objects(source):
        path.write_bytes(b"")
    return await scene.clone(str(source))


async def source_without_a_file(scene: Scene) -> GitProblem:
    source = scene.copy()
    blob = git(source, "rev-parse", "main:a")
    (source / "objects" / blob[:2] / blob[2:]).unlink()
    return await scene.clone(str(source))


async def source_without_a_commit(scene: Scene) -> GitProblem:
    source = scene.copy()
    commit = git(source, "rev-parse", "main")
    (source / "objects" / commit[:2] / commit[2:]).unlink()
    return await scene.clone(str(source))


async def source_with_half_a_pack(scene: Scene) -> GitProblem:
    source = scene.copy()
    git(source, "repack", "-a", "-d", "--quiet")
    pack = next(source.glob("objects/pack/*.pack"))
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
    return await scene.clone(str(source))


async def source_with_broken_settings(scene: Scene) -> GitProblem:
    source = scene.copy()
    (source / "config").write_text("[broken")
    return await scene.reach(str(source))


async def source_of_a_newer_git(scene: Scene) -> GitProblem:
    source = scene.copy()
    git(source, "config", "core.repositoryformatversion", "1")
    git(source, "config", "extensions.fromTheFuture", "true")
    return await scene.reach(str(source))


async def commit_that_is_not_there(scene: Scene) -> GitProblem:
    return await scene.clone(str(scene.base.origin.path), "d" * 40)


async def branch_that_is_not_there(scene: Scene) -> GitProblem:
    return await scene.clone(str(scene.base.origin.path), "nothing")


async def name_too_long(scene: Scene) -> GitProblem:
    return await scene.clone(scene.tree("n" * 300))


async def name_that_git_refuses(scene: Scene) -> GitProblem:
    return await scene.clone(scene.tree(".git"))


async def files_cannot_be_written(scene: Scene) -> GitProblem:
    scene.git_within('case "$*" in *" switch "*) trap "" XFSZ; ulimit -f 50;; esac')
    return await scene.clone(str(scene.base.origin.path))


async def files_have_no_room(scene: Scene) -> GitProblem:
    scene.every_disk_is_small()
    return await files_cannot_be_written(scene)


async def lfs_is_not_installed(scene: Scene) -> GitProblem:
    scene.user_settings(LFS)
    return await scene.clone(str(scene.base.lfs.path))


async def lfs_process_is_not_installed(scene: Scene) -> GitProblem:
    scene.user_settings(LFS_PROCESS)
    return await scene.clone(str(scene.base.lfs.path))


def lfs_says(scene: Scene, text: str) -> None:
    """A filter of our own of that name, which fails with git-lfs's own words."""
    scene.user_settings(LFS)
    scene.program("git-lfs", f"cat > /dev/null\necho '{text}' >&2\nexit 2")


async def lfs_object_is_missing(scene: Scene) -> GitProblem:
    text = "Error downloading object: x.bin (4665a5e): Smudge error: Error downloading x.bin (4665a5e)"
    lfs_says(scene, f"{text}: [4665a5e] Object does not exist on the server: [404] Object does not exist on the server")
    return await scene.clone(str(scene.base.lfs.path))


async def lfs_quota_is_used_up(scene: Scene) -> GitProblem:
    lfs_says(scene, "batch response: This repository is over its data quota. Account responsible should purchase more")
    return await scene.clone(str(scene.base.lfs.path))


async def lfs_shows_a_signed_address(scene: Scene) -> GitProblem:
    lfs_says(scene, f"LFS: Client error: https://me:{SECRET}@store.example/x?X-Amz-Signature={SECRET}&b=1")
    return await scene.clone(str(scene.base.lfs.path))


async def lfs_finds_no_room(scene: Scene) -> GitProblem:
    lfs_says(scene, "cannot write data to tempfile: write /x: No space left on device")
    return await scene.clone(str(scene.base.lfs.path))


async def filter_fails_silently(scene: Scene) -> GitProblem:
    scene.user_settings('[filter "lfs"]\n\trequired\n\tsmudge = false\n')
    return await scene.clone(str(scene.base.lfs.path))


async def clone_with_changed_files(scene: Scene) -> GitProblem:
    (await scene.cloned() / "a").write_text("mine")
    return await scene.switch("dev")


async def clone_that_is_locked(scene: Scene) -> GitProblem:
    (await scene.cloned() / ".git" / "index.lock").write_text("")
    return await scene.switch("dev")


async def clone_in_the_middle_of_a_merge(scene: Scene) -> GitProblem:
    clone = await scene.cloned()
    (clone / ".git" / "MERGE_HEAD").write_text(git(clone, "rev-parse", "HEAD") + "\n")
    return await scene.switch("dev")


async def clone_with_a_broken_index(scene: Scene) -> GitProblem:
    (await scene.cloned() / ".git" / "index").write_bytes(b"junk" * 20)
    return await scene.switch("dev")


async def clone_with_that_branch_elsewhere(scene: Scene) -> GitProblem:
    git(await scene.cloned(), "worktree", "add", "--quiet", "-b", "dev", str(scene.folder / "elsewhere"))
    return await scene.switch("dev")


async def clone_with_a_branch_in_the_way(scene: Scene) -> GitProblem:
    git(await scene.cloned(), "branch", "dev/x")
    return await scene.switch("dev")


async def clone_with_a_remote_branch_in_the_way(scene: Scene) -> GitProblem:
    clone = await scene.cloned()
    git(clone, "update-ref", "-d", "refs/remotes/origin/dev")
    git(clone, "update-ref", "refs/remotes/origin/dev/x", "HEAD")
    return await scene.switch("dev")


async def clone_with_broken_settings(scene: Scene) -> GitProblem:
    (await scene.cloned() / ".git" / "config").write_text("[broken")
    return await scene.switch("dev")
