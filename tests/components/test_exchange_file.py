"""What replacing a file by its spare owes: readers see whole content, failures leave the old."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from reconciler.system import exchange_file
from reconciler.system.exchange_file import BLOCK, read, swap_in
from reconciler.system.files import LockFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.json"


def put(path: Path, number: int, *, length: int = 0, durable: bool = False) -> None:
    swap_in(str(path), json.dumps([number, "x" * length]).encode(), durable=durable)


@pytest.mark.parametrize("durable", [False, True])
def test_the_new_content_is_followed_by_blanks(path: Path, durable: bool) -> None:
    """And the old one is kept beside it, for the next time."""
    for number in range(4):
        put(path, number, durable=durable)

        assert json.loads(path.read_bytes()) == [number, ""]
        assert path.stat().st_size == BLOCK
        assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.with_name("ledger.json.spare").read_bytes()) == [2, ""]
    assert len(list(path.parent.iterdir())) == 2


def test_content_that_grows_and_shrinks(path: Path) -> None:
    """Nothing of what was there before shows."""
    for number, length in enumerate((0, 5 * BLOCK, 3, 2 * BLOCK, 5 * BLOCK, 0, 0)):
        put(path, number, length=length)

        assert json.loads(path.read_bytes()) == [number, "x" * length]


def test_what_cannot_be_written_leaves_the_old(path: Path) -> None:
    """As on a full disk."""
    put(path, 1)
    path.with_name("ledger.json.spare").mkdir()

    with pytest.raises(IsADirectoryError):
        put(path, 2)

    assert json.loads(path.read_bytes()) == [1, ""]


@pytest.mark.parametrize("how", ["link", "second name", "fifo"])
@pytest.mark.parametrize("suffix", ["", ".spare"])
def test_what_is_not_ours_alone_is_not_written_over(path: Path, how: str, suffix: str) -> None:
    """An agent may have put a link there, and a backup may be made of second names. Neither stands in the way."""
    stranger, place = path.with_name("stranger"), path.with_name(path.name + suffix)
    stranger.write_text("mine")
    match how:
        case "link":
            place.symlink_to(stranger)
        case "second name":
            place.hardlink_to(stranger)
        case "fifo":
            os.mkfifo(place)
    for number in range(3):
        put(path, number)

        assert json.loads(read(str(path))) == [number, ""]
    assert stranger.read_text() == "mine"


def test_a_lock_of_somebody_else_holds_up_nobody(path: Path) -> None:
    """An agent or a backup may take one."""
    for number in range(2):
        put(path, number)
    locks = [LockFile(each) for each in (path, path.with_name("ledger.json.spare"))]

    assert json.loads(read(str(path))) == [1, ""]
    put(path, 2)
    assert json.loads(read(str(path))) == [2, ""]
    for lock in locks:
        lock.close()


def test_without_an_exchange_of_names(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library or the file system has none, a rename does."""
    monkeypatch.setattr(exchange_file, "_libc", object())
    for number in range(3):
        put(path, number)

        assert json.loads(path.read_bytes()) == [number, ""]
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_meanwhile_sees_whole_content(path: Path) -> None:
    """The old or the new."""
    put(path, -1)
    over = threading.Event()

    def write() -> None:
        for number in range(2000):
            put(path, number, length=number % 3 * BLOCK)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    last = -1
    while not over.is_set():
        [number, text] = json.loads(read(str(path)))
        assert number >= last
        assert number < 0 or len(text) == number % 3 * BLOCK
        last = number
    writer.join()
