"""Hints that a folder changed, from watchfiles."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import TYPE_CHECKING

from watchfiles._rust_notify import RustNotify

from reconciler.system import announcements, watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import pytest

PAUSE = 0.05
PATIENCE = 30.0


@contextlib.asynccontextmanager
async def hints(folder: Path, *more: Path, below: bool = False, pause: float = PAUSE) -> AsyncIterator[asyncio.Event]:
    """Set whenever there was a hint."""
    hint = asyncio.Event()
    one = watcher.watch_below((folder, *more), hint.set, pause) if below else watcher.watch(folder, hint.set, pause)
    watch = asyncio.create_task(one)
    try:
        yield hint
    finally:
        watch.cancel()
        await asyncio.wait([watch])
    assert watch.cancelled()


async def comes(hint: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await hint.wait()
    hint.clear()


async def silence(hint: asyncio.Event) -> None:
    """Until there was none for longer than any takes."""
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(4 * watcher.STEP_BELOW / 1000):
                await hint.wait()
            hint.clear()


async def test_each_kind_of_change_is_hinted_at(tmp_path: Path) -> None:
    """And so is what happened before."""
    path, other = tmp_path / "app.yaml", tmp_path / "other"
    async with hints(tmp_path) as hint:
        await comes(hint)
        for change in (
            lambda: path.write_text("git:\n"),
            lambda: path.chmod(0o600),
            lambda: path.rename(other),
            lambda: other.replace(path),
            path.unlink,
        ):
            change()
            await comes(hint)


async def test_a_folder_that_is_replaced_is_watched_again(tmp_path: Path) -> None:
    """Also one that is only made later."""
    folder = tmp_path / "specs"
    async with hints(folder) as hint:
        folder.mkdir()
        await comes(hint)
        folder.rename(tmp_path / "old")
        folder.mkdir()
        await comes(hint)
        while not hint.is_set():  # until the new one is watched
            folder.joinpath("app.yaml").write_text("git:\n")
            await asyncio.sleep(0)


async def test_a_folder_that_is_created_again_at_once_is_watched_again_at_once(tmp_path: Path) -> None:
    """It may be given the very inode of the one before it, as ext4 does: to git, a switch to a branch without it."""
    folder = tmp_path / "specs"
    folder.mkdir()
    async with hints(folder, pause=2 * PATIENCE) as hint:
        await comes(hint)
        folder.rmdir()
        folder.mkdir()
        path = folder / "app.yaml"
        path.write_text("git:\n")
        await comes(hint)
        for _ in range(3):
            await silence(hint)
            path.write_text("git:\n")
            await comes(hint)


async def test_a_folder_that_cannot_be_reached_any_more_is_hinted_at(tmp_path: Path) -> None:
    """Though nothing happened to itself; and when it can be."""
    folder = tmp_path / "repo" / "specs"
    folder.mkdir(parents=True)
    async with hints(folder) as hint:
        await comes(hint)
        await silence(hint)
        folder.parent.rename(tmp_path / "away")
        await comes(hint)
        (tmp_path / "away").rename(folder.parent)
        await comes(hint)


async def test_a_flood_of_changes_leaves_it_awake(tmp_path: Path) -> None:
    """More than the kernel keeps, while the controller was busy with something else: it hung for ever once."""
    path = tmp_path / "app.yaml"
    async with hints(tmp_path) as hint:
        await comes(hint)
        for _ in range(20_000):
            path.touch()
        await comes(hint)
        async with asyncio.timeout(PATIENCE):
            while True:  # until it has heard all of it
                hint.clear()
                await asyncio.sleep(0)
                if not hint.is_set():
                    break
        path.touch()
        await comes(hint)


async def test_without_a_watch_to_be_had_it_tries_again(tmp_path: Path) -> None:
    """As when other programs of the user have taken all there are."""
    path = tmp_path / "app.yaml"
    async with hints(tmp_path) as hint, hints(tmp_path, below=True) as below:
        with no_more_watches():
            for _ in range(3):
                await comes(hint)
                await comes(below)
        for each in (hint, below):
            await silence(each)
            path.touch()
            await comes(each)


@contextlib.contextmanager
def no_more_watches() -> Iterator[None]:
    """While no file can be opened any more, as a watch is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_what_this_process_announces_is_hinted_at_at_once(tmp_path: Path) -> None:
    """From any thread, by whatever path, and although no event says so; what is announced of another folder is not."""
    link = tmp_path / "link"
    specs = tmp_path / "specs"
    specs.mkdir()
    link.symlink_to(specs)
    async with hints(specs, pause=2 * PATIENCE) as hint:
        await comes(hint)
        await silence(hint)
        announcements.announce(tmp_path)
        await asyncio.sleep(0)
        assert not hint.is_set()
        await asyncio.to_thread(announcements.announce, link)
        await comes(hint)
    announcements.announce(specs)
    assert not hint.is_set()


async def test_a_folder_that_no_event_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system, where another machine makes files and the kernel here says nothing."""
    monkeypatch.setattr(watcher, "RustNotify", lambda _paths, *rest: RustNotify([], *rest))
    async with hints(tmp_path) as hint:
        await comes(hint)
        for name in ("app", "lib"):
            tmp_path.joinpath(f"{name}.yaml").touch()
            await comes(hint)


async def test_changes_in_folders_below_are_hinted_at(tmp_path: Path) -> None:
    """In those that were there, in those made or moved in later, and of the files in the folder itself."""
    sandboxes, keys = tmp_path / "sandboxes", tmp_path / "keys"
    old, new = sandboxes / "old", sandboxes / "new"
    for folder in (old, keys, tmp_path / "kept"):
        folder.mkdir(parents=True)
    async with hints(sandboxes, keys, below=True) as hint:
        await comes(hint)
        for change in (
            lambda: (old / ".env").write_text("A=1\n"),
            (keys / "app-deploy").touch,
            new.mkdir,
            (new / "repo").mkdir,
            lambda: (tmp_path / "kept").rename(sandboxes / "back"),
            lambda: (sandboxes / "back" / ".env").write_text("A=1\n"),
            (new / "repo").rmdir,
        ):
            change()
            await comes(hint)


async def test_what_is_deeper_is_no_matter(tmp_path: Path) -> None:
    """An agent writes thousands of files into its clone: nobody is woken for them."""
    clone = tmp_path / "app" / "repo"
    clone.mkdir(parents=True)
    async with hints(tmp_path, below=True) as hint:
        await comes(hint)
        clone.joinpath("file").write_text("text\n")
        (tmp_path / "app" / ".env").touch()
        await comes(hint)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(4 * watcher.STEP_BELOW / 1000):
                await hint.wait()
        assert not hint.is_set()


async def test_a_folder_watched_below_may_be_made_later(tmp_path: Path) -> None:
    """It is looked for again and again."""
    folder = tmp_path / "sandboxes"
    async with hints(folder, below=True) as hint:
        folder.mkdir()
        await comes(hint)


async def test_a_folder_watched_below_that_is_replaced_is_watched_again_at_once(tmp_path: Path) -> None:
    """As when a home is put back from a backup."""
    folder = tmp_path / "sandboxes"
    folder.mkdir()
    async with hints(folder, below=True, pause=2 * PATIENCE) as hint:
        await comes(hint)
        folder.rename(tmp_path / "aside")
        (folder / "app").mkdir(parents=True)
        await comes(hint)
        (folder / "app" / ".env").touch()
        await comes(hint)


async def test_a_folder_watched_below_that_goes_is_hinted_at_and_blinds_nobody(tmp_path: Path) -> None:
    """Nor does a link to itself."""
    sandboxes, keys = tmp_path / "sandboxes", tmp_path / "keys"
    (sandboxes / "app").mkdir(parents=True)
    keys.mkdir()
    (sandboxes / "loop").symlink_to("loop")
    async with hints(sandboxes, keys, below=True, pause=2 * PATIENCE) as hint:
        await comes(hint)
        await silence(hint)
        (sandboxes / "app" / ".env").touch()
        await comes(hint)
        await silence(hint)
        keys.rmdir()
        await comes(hint)
    async with hints(sandboxes, keys, below=True) as hint:
        for _ in range(3):
            await comes(hint)


async def test_a_flood_below_leaves_it_awake(tmp_path: Path) -> None:
    """More than the kernel keeps: all is watched again, also what was made meanwhile."""
    (tmp_path / "app").mkdir()
    path = tmp_path / "app" / ".env"
    async with hints(tmp_path, below=True, pause=2 * PATIENCE) as hint:
        await comes(hint)
        for _ in range(20_000):
            path.touch()
        (tmp_path / "late").mkdir()
        await silence(hint)
        (tmp_path / "late" / ".env").touch()
        await comes(hint)
