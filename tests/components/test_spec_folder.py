"""The folder of specs: what a look sees, and when a file is believed. Real files, time handed in."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from reconciler.settings import Home, Settings
from reconciler.specs import spec_folder
from reconciler.specs.spec_folder import (
    Accepted,
    Change,
    Rejected,
    Removed,
    SpecFolder,
    Touched,
    read_now,
    scan,
)
from reconciler.system.files import private_folder

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "git:\n  url: here\n"
SETTLE = 0.125
SETTLE_OPEN = 2.0


class Folder:
    """A specs folder with a reader and a clock of its own."""

    def __init__(self, root: Path) -> None:
        self.path = root / "specs"
        self.path.mkdir()
        self.home = Home(root / "home")
        self.now = 1000.0
        self.reader = self.new_reader()

    def new_reader(self, *known: str) -> SpecFolder:
        settings = Settings(home=self.home, specs=self.path, settle=SETTLE, settle_open=SETTLE_OPEN)
        return SpecFolder(settings, known)

    def write(self, name: str, text: str) -> None:
        (self.path / f"{name}.yaml").write_text(text)

    def record_digest(self, name: str, text: str) -> None:
        path = spec_folder.expected_digest_path(self.home, name)
        private_folder(path.parent)
        path.write_text(hashlib.sha256(text.encode()).hexdigest())

    def look(self, after: float = 0.0) -> tuple[Change, ...]:
        self.now += after
        return self.reader.look(self.now).changes

    def due(self) -> float | None:
        """Seconds until the reader wants to look again."""
        again = self.reader.look(self.now).again
        return None if again is None else round(again - self.now, 3)

    def settle(self) -> tuple[Change, ...]:
        """Everything that is pending, with the time it needs."""
        return self.look() + self.look(SETTLE) + self.look(SETTLE_OPEN)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def kinds(changes: tuple[Change, ...]) -> list[tuple[str, str]]:
    """The changes in short."""
    return [(change.name, type(change).__name__) for change in changes]


def test_scan_takes_only_specs(folder: Folder) -> None:
    """Spec files are taken, editors' left-overs ignored, near misses named with what was meant."""
    for name in ["blog.yaml", "a-1.yaml", ".blog.yaml.swp", ".x.yaml", "blog.yaml~", "blog.yaml.bak", "blog.yaml.orig"]:
        (folder.path / name).write_text(GOOD)
    for name in ["#blog.yaml#", "4913", "README.md", "other.yml", "My_App.yaml", "bad name-.YAML", "é.yaml"]:
        (folder.path / name).write_text(GOOD)
    (folder.path / os.fsdecode(b"\xff\n.yaml")).write_text(GOOD)

    seen = scan(folder.path)

    assert sorted(seen.files) == ["a-1", "blog"]
    rule = "names are 1 to 63 of a-z, 0-9 and inner hyphens"
    assert list(seen.warnings) == [
        f"cannot use the spec file 'My_App.yaml': {rule}; rename it to my-app.yaml",
        r"cannot use the spec file '\udcff\n.yaml': its name is not readable text; rename it",
        f"cannot use the spec file 'bad name-.YAML': {rule}; rename it to bad-name.yaml",
        "cannot use the spec file 'other.yml': spec files end in .yaml; rename it to other.yaml",
        f"cannot use the spec file 'é.yaml': {rule}; rename it to e.yaml",
    ]


def test_scan_of_what_is_no_file(folder: Folder) -> None:
    """A folder, a pipe or a dangling link is there and unusable: it is neither read nor gone."""
    (folder.path / "folder.yaml").mkdir()
    os.mkfifo(folder.path / "pipe.yaml")
    (folder.path / "link.yaml").symlink_to("nowhere")
    (folder.path / "loop.yaml").symlink_to("loop.yaml")

    seen = scan(folder.path)

    assert not seen.files
    assert dict(sorted(seen.unusable.items())) == {
        "folder": "cannot read folder.yaml: it is not a regular file",
        "link": "cannot read link.yaml: it is a link to nowhere",
        "loop": "cannot read loop.yaml: too many levels of symbolic links",
        "pipe": "cannot read pipe.yaml: it is not a regular file",
    }
    assert kinds(folder.settle()) == [(name, "Rejected") for name in ("folder", "link", "loop", "pipe")]
    assert folder.settle() == ()


def test_scan_of_a_missing_folder(tmp_path: Path) -> None:
    """A folder that cannot be read is said to be so; no spec vanished."""
    seen = scan(tmp_path / "specs")

    assert (seen.readable, seen.problem) == (
        False,
        f"cannot read the specs folder {tmp_path / 'specs'}: it does not exist",
    )


def test_new_file_is_read_once_settled(folder: Folder) -> None:
    """A file counts only when nothing about it changed for the settle time, and then once."""
    folder.write("blog", GOOD)

    assert folder.look() == ()
    assert folder.due() == SETTLE
    folder.write("blog", GOOD + "state: stopped\n")
    assert folder.look(SETTLE) == ()
    assert folder.look(SETTLE / 2) == ()
    (accepted,) = folder.look(SETTLE / 2)

    assert isinstance(accepted, Accepted)
    assert (accepted.name, accepted.spec.state, accepted.lines["state",]) == ("blog", "stopped", 3)
    assert accepted.token == scan(folder.path).files["blog"]
    assert folder.settle() == ()
    assert folder.due() is None


def test_open_end_rests_longer(folder: Folder) -> None:
    """Without a final newline a file may be half of one."""
    folder.write("blog", GOOD.rstrip())

    folder.look()
    assert folder.look(SETTLE) == ()
    assert folder.due() == SETTLE_OPEN - SETTLE
    assert kinds(folder.look(SETTLE_OPEN)) == [("blog", "Accepted")]


def test_text_with_its_expected_digest_is_read_at_once(folder: Folder) -> None:
    """What our own tools wrote is whole the moment it is there, and waited for; a digest of another text is none."""
    folder.record_digest("blog", GOOD.rstrip())
    folder.write("blog", GOOD.rstrip())
    folder.record_digest("shop", GOOD)
    folder.write("shop", GOOD + "state: stopped\n")

    (blog,) = folder.look()
    (shop,) = folder.look(SETTLE)
    assert isinstance(blog, spec_folder.Accepted)
    assert isinstance(shop, spec_folder.Accepted)
    assert (blog.name, blog.trusted, shop.name, shop.trusted) == ("blog", True, "shop", False)


def test_broken_text_is_rejected_until_it_is_fixed(folder: Folder) -> None:
    """A broken file is reported once, with the sentences; fixed, even to what it was, it is accepted."""
    folder.write("blog", GOOD)
    folder.settle()
    folder.write("blog", "git: [\n")
    (rejected,) = folder.settle()
    assert folder.settle() == ()
    folder.write("blog", GOOD)

    assert isinstance(rejected, Rejected)
    assert rejected.message.startswith("cannot read blog.yaml:1 as YAML")
    assert kinds(folder.settle()) == [("blog", "Accepted")]


def test_too_long_file_is_rejected(folder: Folder) -> None:
    """A huge file is not read in."""
    with (folder.path / "blog.yaml").open("wb") as file:
        file.truncate(10**12)

    (rejected,) = folder.settle()

    assert isinstance(rejected, Rejected)
    assert rejected.message == "cannot read blog.yaml: it is longer than 64 KiB"


def test_touch_is_a_poke(folder: Folder) -> None:
    """The same text with a new version means: look now."""
    folder.write("blog", GOOD)
    folder.settle()

    (folder.path / "blog.yaml").touch()
    touched = folder.settle()
    folder.write("blog", GOOD)

    assert touched == folder.settle() == (Touched(name="blog"),)


def test_comment_edit_is_accepted_with_the_same_meaning(folder: Folder) -> None:
    """Another text is reported even where it means the same: its lines may have moved."""
    folder.write("blog", GOOD)
    (first,) = folder.settle()
    folder.write("blog", "# why\n" + GOOD)
    (second,) = folder.settle()

    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.spec.digest() == second.spec.digest()
    assert first.sha != second.sha


def test_vanished_after_a_while(folder: Folder) -> None:
    """A removed file is reported when it stayed away; written again it is accepted again."""
    folder.write("blog", GOOD)
    folder.settle()
    (folder.path / "blog.yaml").unlink()

    assert folder.look() == ()
    assert folder.due() == SETTLE_OPEN
    assert folder.look(SETTLE_OPEN) == (Removed(name="blog"),)
    assert folder.settle() == ()
    folder.write("blog", GOOD)
    assert kinds(folder.settle()) == [("blog", "Accepted")]


def test_replaced_file_never_vanished(folder: Folder) -> None:
    """Removing and writing again, as editors and git do, is an edit."""
    folder.write("blog", GOOD)
    folder.settle()
    (folder.path / "blog.yaml").unlink()
    folder.look()
    folder.write("blog", GOOD + "state: stopped\n")

    assert kinds(folder.settle()) == [("blog", "Accepted")]


def test_unreadable_folder_is_not_emptiness(folder: Folder) -> None:
    """While the folder is away no time counts against its files."""
    folder.write("blog", GOOD)
    folder.settle()
    folder.path.rename(folder.path.with_name("away"))

    assert folder.settle() == ()
    assert not folder.reader.look(folder.now).scan.readable
    folder.path.mkdir()
    assert folder.look() == ()
    folder.path.rmdir()
    assert folder.look(SETTLE_OPEN) == ()
    folder.path.with_name("away").rename(folder.path)
    assert folder.settle() == ()


def test_a_folder_that_was_put_back_has_not_been_missing(folder: Folder) -> None:
    """However long ago it was away, and though its files came back as they were."""
    folder.write("blog", GOOD)
    folder.settle()
    folder.path.rename(folder.path.with_name("away"))
    folder.path.mkdir()
    folder.look()
    folder.path.rmdir()
    folder.path.with_name("away").rename(folder.path)
    folder.look()
    folder.look(1000.0)
    (folder.path / "blog.yaml").unlink()

    assert folder.look() == ()
    assert folder.due() == SETTLE_OPEN


def test_known_projects_can_vanish(folder: Folder) -> None:
    """A file that was removed while no controller ran is missed by the next one."""
    folder.write("blog", GOOD)
    folder.reader = folder.new_reader("blog", "shop")

    assert kinds(folder.settle()) == [("blog", "Accepted"), ("shop", "Removed")]


def test_link_follows_its_target(folder: Folder) -> None:
    """A change of what a link points to, or of the link, is a change of the spec; a dangling link is no removal."""
    first, second = folder.path.with_name("first"), folder.path.with_name("second")
    first.write_text(GOOD)
    second.write_text(GOOD + "state: absent\n")
    link = folder.path / "blog.yaml"
    link.symlink_to(first)

    assert kinds(folder.settle()) == [("blog", "Accepted")]
    first.write_text(GOOD + "state: stopped\n")
    assert kinds(folder.settle()) == [("blog", "Accepted")]
    link.unlink()
    link.symlink_to(second)
    assert kinds(folder.settle()) == [("blog", "Accepted")]
    second.unlink()
    assert folder.settle() == (Rejected(name="blog", message="cannot read blog.yaml: it is a link to nowhere"),)


def test_what_no_watch_of_the_folder_reports(folder: Folder) -> None:
    """A link, a second name, and what cannot be read; a plain file is not among them."""
    elsewhere = folder.path.with_name("elsewhere")
    elsewhere.write_text(GOOD)
    path = folder.path / "blog.yaml"

    def watchable() -> bool:
        folder.settle()
        return folder.reader.look(folder.now).watchable

    assert watchable()
    path.symlink_to(elsewhere)
    assert not watchable()
    path.unlink()
    path.hardlink_to(elsewhere)
    assert not watchable()
    elsewhere.unlink()
    assert watchable()
    path.unlink()
    path.mkdir()
    assert not watchable()


def test_link_to_a_folder_and_back_is_accepted_again(folder: Folder) -> None:
    """Though the file it leads to is the very same."""
    there = folder.path.with_name("there")
    there.mkdir()
    (there / "spec").write_text(GOOD)
    (folder.path / "blog.yaml").symlink_to(there / "spec")
    folder.settle()
    there.rename(there.with_name("away"))
    (there / "spec").mkdir(parents=True)
    assert kinds(folder.settle()) == [("blog", "Rejected")]
    (there / "spec").rmdir()
    there.rmdir()
    there.with_name("away").rename(there)

    assert kinds(folder.settle()) == [("blog", "Accepted")]


def test_forbidden_file_is_rejected_until_it_is_not(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be opened is reported once, and accepted when it can be, though it never changed."""
    folder.write("blog", GOOD)
    forbidden = PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        # Not by its mode: root may read everything.
        patched.setattr(os, "open", Mock(side_effect=forbidden))
        rejected = folder.settle()
        assert not folder.reader.look(folder.now).watchable

    assert rejected == (Rejected(name="blog", message="cannot read blog.yaml: permission denied"),)
    assert kinds(folder.look()) == [("blog", "Accepted")]


def test_file_gone_between_look_and_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is just being replaced is neither rejected nor gone."""
    folder.write("blog", GOOD)
    folder.look()

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", Mock(side_effect=FileNotFoundError()))
        assert folder.look(SETTLE) == ()
    assert kinds(folder.look(SETTLE)) == [("blog", "Accepted")]


def test_cut_anywhere_while_written(folder: Folder) -> None:
    """Written byte by byte with looks in between, only the whole text is ever accepted."""
    text = GOOD + "state: stopped # fin\n"
    found: list[Change] = []
    with (folder.path / "blog.yaml").open("wb", buffering=0) as file:
        for byte in text.encode():
            file.write(bytes([byte]))
            found += folder.look(SETTLE / 2)
    found += folder.settle()

    assert kinds(tuple(found)) == [("blog", "Accepted")]
    assert found == [read_now(folder.path, "blog")]


def test_read_now(folder: Folder) -> None:
    """People who ask get what is there, settled or not."""
    folder.write("blog", "state: no\n")

    rejected = read_now(folder.path, "blog")
    missing = read_now(folder.path, "shop")

    assert isinstance(rejected, Rejected)
    assert rejected.message.endswith("(blog.yaml:1)")
    assert missing == Rejected(name="shop", message=f"cannot read {folder.path}/shop.yaml: it does not exist")
