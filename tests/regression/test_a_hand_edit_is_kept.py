"""What a person saves while one of our tools writes, and what tools leave behind."""

from __future__ import annotations

import errno
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.settings import Home, Settings
from reconciler.specs import writer
from reconciler.specs.spec_folder import SpecFolder
from reconciler.specs.tombstones import Tombstones
from reconciler.system import files

if TYPE_CHECKING:
    from pathlib import Path


def test_a_save_between_the_last_comparison_and_the_write_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, path, record_digest = Home(tmp_path / "home"), tmp_path / "blog.yaml", writer._record_digest
    path.write_text("git: {url: here}\n")
    saves = ["git: {url: theirs}\n"]

    def save_and_record(*args: Any) -> None:  # the last step before the file is replaced
        if saves:
            path.write_text(saves.pop())
        record_digest(*args)

    monkeypatch.setattr(writer, "_record_digest", save_and_record)
    writer.edit(tmp_path, home, "blog", {("state",): "stopped"})

    assert path.read_text() == "git: {url: theirs}\nstate: stopped\n"


def test_a_committed_tombstone_stays_when_git_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blog.yaml").write_text("git: {url: here}\nstate: absent\n")
    tombstones = Tombstones(Settings(home=Home(tmp_path / "home"), specs=tmp_path))

    def no_more_processes(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", no_more_processes)

    assert tombstones.look("blog") == (True, False)


def test_the_word_of_a_tool_for_its_text_is_used_once(tmp_path: Path) -> None:
    home, specs = Home(tmp_path / "home"), tmp_path / "specs"
    reader = SpecFolder(Settings(home=home, specs=specs))
    writer.create(specs, home, "blog", writer.new_text("here"))
    writer.create(specs, home, "shop", writer.new_text("here"))

    assert len(reader.look(0.0).changes) == 2
    assert list((home.controller / "vouched").iterdir()) == []


@pytest.mark.parametrize("moment", ["before it is moved", "while it is moved"])
def test_a_tombstone_that_is_saved_as_running_in_the_last_instant_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    home, path, private_folder = Home(tmp_path / "home"), tmp_path / "specs" / "blog.yaml", files.private_folder
    path.parent.mkdir()
    path.write_text("git: {url: here}\nstate: absent\n")
    rename = type(path).rename

    def save() -> None:
        path.write_text("git: {url: here}\nstate: running\n")

    def save_and_rename(one: Path, other: Path) -> Path:  # the last step before it is gone
        if one == path:
            save()
        return rename(one, other)

    def make_and_save(folder: Path) -> Path:  # the trash is made: the file is judged by now
        if folder.name.endswith("-spec"):
            save()
        return private_folder(folder)

    monkeypatch.setattr(type(path), "rename", save_and_rename if moment == "before it is moved" else rename)
    monkeypatch.setattr(files, "private_folder", make_and_save if moment == "while it is moved" else private_folder)
    Tombstones(Settings(home=home, specs=path.parent)).remove("blog")

    assert path.read_text() == "git: {url: here}\nstate: running\n"
