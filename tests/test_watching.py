"""Hints that a folder changed, from the kernel itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING

import asyncinotify

from reconciler import watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

PAUSE = 0.05
PATIENCE = 30.0


@contextlib.asynccontextmanager
async def hints(folder: Path) -> AsyncIterator[asyncio.Event]:
    """Set whenever there was a hint."""
    hint = asyncio.Event()
    watch = asyncio.create_task(watching.watch(folder, hint.set, PAUSE))
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


async def test_without_a_watch_to_be_had_it_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when other programs of the user have taken all there are."""
    tries: list[int] = []

    def scarce() -> asyncinotify.Inotify:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return asyncinotify.Inotify()

    monkeypatch.setattr(watching, "Inotify", scarce)
    async with hints(tmp_path) as hint:
        await comes(hint)

    assert len(tries) == 3
