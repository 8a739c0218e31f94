"""Reading a log from its end, and following it whoever rotates it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local import log_tail
from reconciler.engines.local.keeper import log_cap
from reconciler.frontends.cli.commands import mcp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Log:
    """A log that a service appends to, and somebody who follows it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.follower = log_tail.Follower(path, os.open(path, os.O_RDONLY))
        self.said = 0

    def say(self, count: int) -> bytes:
        """Let the service print numbered lines."""
        text = b"".join(b"line %05d\n" % number for number in range(self.said, self.said + count))
        self.said += count
        os.write(self.service, text)
        return text

    def news(self) -> bytes:
        return b"".join(self.follower.news())

    def last(self, lines: int) -> bytes:
        with self.path.open("rb") as log:
            size = os.fstat(log.fileno()).st_size
            return b"".join(log_tail.last_lines(self.path, log.fileno(), size, lines))


@pytest.fixture(name="log")
def _log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    monkeypatch.setattr(log_cap, "LOG_LIMIT", 20_000)
    log = Log(tmp_path / "a.log")
    yield log
    log.follower.close()
    os.close(log.service)


@pytest.mark.parametrize("lines", [0, 1, 2, 999, 5957, 5958, 5959, 20000, 99999])
@pytest.mark.parametrize("ending", [b"", b"no end yet"])
def test_the_last_lines(log: Log, lines: int, ending: bytes) -> None:
    """As many as are asked for, and all where there are less; a line without its end is one."""
    text = log.say(20000) + ending
    os.write(log.service, ending)

    assert log.last(lines) == b"".join(text.splitlines(keepends=True)[-lines:] if lines else [])


def test_the_last_lines_of_an_empty_log(log: Log) -> None:
    assert log.last(5) == b""


def test_lines_that_were_moved_into_old_logs(log: Log) -> None:
    """Are last lines too, those that begin in one and end in the next as well."""
    text = log.say(8000)
    log_cap.cap(str(log.path), log.service)
    text += log.say(3)
    log_cap.cap(str(log.path), log.service)
    text += log.say(2)

    for lines in (1, 2, 3, 6, 500):
        assert log.last(lines) == b"".join(text.splitlines(keepends=True)[-lines:])


def test_what_is_added_is_followed(log: Log) -> None:
    assert log.news() == b""
    assert log.say(3) == log.news()
    assert log.say(9000) == log.news()


@pytest.mark.parametrize("ahead", [0, 1, 300])
def test_following_while_the_log_is_cut(log: Log, ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missed and nothing comes twice, on both kinds of file systems. (One of them is fake.)."""
    for can in (True, False):
        if not can:
            monkeypatch.setattr(log_cap, "_can_collapse", lambda _log: False)
        log.say(4000)
        log.news()
        added = log.say(ahead)
        log_cap.cap(str(log.path), log.service)
        added += log.say(5)

        assert log.news() == added
        assert log.say(5) == log.news()


def test_following_a_log_that_was_copied_and_truncated(log: Log) -> None:
    log.say(100)
    log.news()
    added = log.say(3)
    shutil.copy(log.path, log.path.with_name("a.log.1"))
    os.truncate(log.path, 0)
    added += log.say(2)

    assert log.news() == added


def test_following_a_log_that_was_emptied(log: Log) -> None:
    """Without a copy there is nothing to show of what was there."""
    log.say(100)
    log.news()
    os.truncate(log.path, 0)

    assert log.say(2) == log.news()


def test_following_a_log_that_was_renamed(log: Log) -> None:
    """The service writes on into the renamed file until it is started again, and so it is followed as long."""
    log.say(100)
    log.news()
    log.path.rename(log.path.with_name("a.log.1"))
    log.path.touch()
    assert log.say(2) == log.news()
    log.path.write_bytes(b"the next run\n")

    assert log.news() == b"the next run\n"


def test_the_log_of_detached_controllers_is_kept_small(tmp_path: Path) -> None:
    for _ in range(3):
        with mcp.open_detached_log(tmp_path) as out:
            out.write(b"x" * 1_500_000)

    assert sorted(path.stat().st_size for path in tmp_path.iterdir()) == [1_500_000, 1_500_000]
