"""What is old enough is deleted for good, and a controller's end does not wait for that."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from reconciler.engines.local import trash
from tests.support.world import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.world import World


def fill(folder: Path, *names: str) -> None:
    for name in names:
        folder.joinpath(name, "below").mkdir(parents=True)
        folder.joinpath(name, "below", "file").touch()


def names(folder: Path) -> set[str]:
    return {place.name for place in folder.iterdir()}


def test_only_what_is_old_and_meant_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time it was put there, which nobody can forge; folders alone, so no link."""
    fill(tmp_path / "elsewhere", "kept")
    fill(tmp_path / "trash", "old", ".hidden")
    tmp_path.joinpath("trash", "link").symlink_to(tmp_path / "elsewhere")
    trash.delete_older(tmp_path / "trash", "*", 60)
    assert names(tmp_path / "trash") == {"old", ".hidden", "link"}

    now = time.time()
    monkeypatch.setattr("reconciler.engines.local.trash.time.time", lambda: now + 61)
    trash.delete_older(tmp_path / "trash", ".*", 60)
    assert names(tmp_path / "trash") == {"old", "link"}
    trash.delete_older(tmp_path / "trash", "*", 60)
    trash.delete_older(tmp_path / "nowhere", "*", 60)

    assert names(tmp_path / "trash") == {"link"}
    assert names(tmp_path / "elsewhere") == {"kept"}


def test_what_is_half_deleted_goes_on_being_deleted(tmp_path: Path) -> None:
    """Though it looks new."""
    fill(tmp_path, ".going-old", "new")

    trash.delete_older(tmp_path, "*", 60)

    assert names(tmp_path) == {"new"}


def test_the_end_of_a_controller_does_not_wait_for_it(world: World) -> None:
    """While a deletion hangs, as on a network file system that is gone; faked: here it hangs by itself."""
    fill(world.home.trash, ".going-blog")
    begun = world.root / "begun"
    os.mkfifo(begun)
    hang = f"import shutil, time; shutil.rmtree = lambda *_, **__: [open({str(begun)!r}), time.sleep(1000)]"
    world.root.joinpath("sitecustomize.py").write_text(hang)
    world.environment["PYTHONPATH"] = str(world.root)
    controller = world.start()
    with begun.open("w"):  # when both have opened it
        pass

    controller.send_signal(signal.SIGTERM)

    assert controller.wait(PATIENCE) == 0
