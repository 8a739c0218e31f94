"""The files of history: nothing that was written is lost to a kill, they stay bounded, and readers follow them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from reconciler.api import history_follow
from reconciler.core import history as values
from reconciler.core.history import Filter, Type
from reconciler.core.reasons import Reason
from reconciler.settings import Home, Settings
from reconciler.state import history as module
from reconciler.state import history_files as files
from reconciler.state.history import KEPT, History
from reconciler.state.history_files import HistoryFollower
from reconciler.system import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reconciler.core.history import HistoryRecord

SMALL: Final = 2_000
"""Bytes of a file in these tests: ten events or so."""
EVENTS: Final = 10_000
KILLS: Final = 5
PATIENCE: Final = 60.0


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.controller.mkdir(mode=0o700)
    return home


def write(history: History, count: int, project: str = "app") -> None:
    for _ in range(count):
        history.record(Reason.SERVICE_ENDED, project, f"event {history.index + 1}")


def indexes(home: Home) -> list[int]:
    return [record.index for record in files.latest(home)]


def sizes(home: Home) -> list[int]:
    return [path.stat().st_size for path in (*files.full(home), files.current(home))]


def test_a_killed_writer_loses_nothing_it_had_written(home: Home) -> None:
    """Killed at random points of 10,000 events, over files that are full: each is there once, in order."""
    written = 0
    for kill in range(1, KILLS + 1):
        command = [sys.executable, "-m", "tests.support.history_writer", str(home.root), "600000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                written = int(line)
                if written >= kill * EVENTS // KILLS:
                    break
            writer.send_signal(signal.SIGKILL)
            written = max([written, *(int(line) for line in writer.stdout.read().split(b"\n")[:-1])])
        there = indexes(home)
        assert there == list(range(1, len(there) + 1))
        assert written <= len(there) <= written + 1  # one was perhaps written and not reported

    assert len(files.full(home)) >= 1


def test_a_torn_line_is_dropped_and_its_index_is_given_to_the_next(home: Home) -> None:
    """Wherever the line was torn, and whatever a power cut left behind it."""
    history = History(home)
    write(history, 2)
    history.close()
    whole = files.current(home).read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for left in [*(whole[:end] for end in range(last, len(whole))), whole[:last] + b"\0" * 80 + b"\n"]:
        files.current(home).write_bytes(left)
        history = History(home)

        assert history.record(Reason.CONTROLLER_STARTED).index == 2
        assert indexes(home) == [1, 2]
        history.close()


def test_files_stay_bounded_and_the_oldest_events_go(home: Home) -> None:
    """The index goes on."""
    history = History(home, size=SMALL)
    write(history, 200)

    assert len(files.full(home)) == KEPT
    assert max(sizes(home)) <= SMALL
    assert indexes(home) == list(range(201 - len(indexes(home)), 201))
    assert len(indexes(home)) >= KEPT * 5


async def test_one_turn_of_the_event_loop_is_one_write(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst costs few system calls, and what does not fit into one file goes on in the next."""
    history, writes, pwrite = History(home, size=SMALL), list[bytes](), os.pwrite

    def counted(handle: int, data: bytes, at: int) -> int:
        writes.append(data)
        return pwrite(handle, data, at)

    monkeypatch.setattr(os, "pwrite", counted)
    write(history, 5)
    assert files.last_index(home) == 0
    await asyncio.sleep(0)

    assert (files.last_index(home), len(writes)) == (5, 1)
    write(history, 30)
    await asyncio.sleep(0)
    assert indexes(home) == list(range(1, 36))


@pytest.mark.parametrize("size", [1, SMALL])
def test_a_new_writer_goes_on_where_the_last_one_stopped(home: Home, size: int) -> None:
    """Also when it was killed after it had renamed a full file and before it made the next."""
    write(History(home, size=size), 3)
    files.current(home).rename(f"{files.current(home)}.3")
    history = History(home, size=size)

    assert history.record(Reason.CONTROLLER_STARTED).index == 4
    assert indexes(home)[-1] == 4


def test_deleting_the_files_loses_nothing_but_history(home: Home) -> None:
    """A writer makes a new file and goes on with the next index."""
    history = History(home, size=SMALL)
    write(history, 30)
    for path in (*files.full(home), files.current(home)):
        path.unlink()
    write(history, 2)

    assert indexes(home) == [31, 32]


def test_what_cannot_be_written_is_written_later(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing raises; only so much waits in memory."""
    monkeypatch.setattr(module, "WAITING", 5)
    history = History(home)
    write(history, 1)
    files.current(home).unlink()
    files.current(home).mkdir()
    write(history, 8)
    files.current(home).rmdir()
    write(history, 1)

    assert indexes(home) == [5, 6, 7, 8, 9, 10]


def test_a_write_that_is_cut_short_leaves_no_half_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk."""
    history, pwrite = History(home), os.pwrite
    write(history, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda handle, data, at: pwrite(handle, data[: len(data) // 2], at))
        write(history, 2)
        assert files.current(home).read_bytes().count(b"\n") == 1
        assert files.current(home).read_bytes().endswith(b"\n")
    write(history, 1)

    assert indexes(home) == [1, 2, 3, 4]


def test_what_looks_like_a_secret_is_not_written(home: Home) -> None:
    """The last line of defence: nobody records a secret at all."""
    canary = "canary-0123456789"
    history = History(home)
    history.record(Reason.GIT_FAILED, "app", f"cannot reach https://me:{canary}@host/x", cause=f"token={canary}")

    assert canary not in files.current(home).read_text()
    assert "cannot reach https://me:[redacted]@host/x" in files.current(home).read_text()


def test_the_newest_events_of_some_projects_are_found(home: Home) -> None:
    """Over all files, by pattern and time, the oldest first; a long series is one."""
    now = [1_800_000_000.0]
    history = History(home, clock=lambda: now[0], size=SMALL)
    for number in range(20):
        now[0] += 1
        write(history, 1, f"blog-{number % 4}")
        history.record(Reason.SERVICE_ENDED, "app", "agent ended: exit code 3", kind=Type.WARNING)
    since = values.iso(now[0] - 4)

    assert [record.index for record in files.latest(home, Filter(names=("blog-[12]",)), 3)] == [29, 35, 37]
    assert [record.index for record in files.latest(home, Filter(since=since))] == [31, 33, 35, 37, 39, 40]
    assert [record.count for record in files.latest(home, Filter(names=("app",)))] == [20]
    assert files.latest(home, Filter(names=("other",))) == []


def test_a_clock_that_was_set_back_hides_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer events are sought behind older ones, though not for ever."""
    times = iter([1_800_000_000.0, 1_800_000_001.0, 1_700_000_000.0, 1_700_000_001.0])
    history, since = History(home, clock=lambda: next(times)), Filter(since=values.iso(1_800_000_000.0))
    write(history, 4)

    assert [record.index for record in files.latest(home, since)] == [1, 2]
    monkeypatch.setattr(files, "_OLDER", 1)
    assert files.latest(home, since) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_holds_nobody(home: Home, make: Callable[[Path], None]) -> None:
    """A pipe or a folder in its place: nothing can be read or written, and nothing waits or raises."""
    make(files.current(home))
    history = History(home)
    write(history, 1)
    with contextlib.closing(HistoryFollower(home)) as follower:
        assert (list(follower.news()), files.latest(home)) == ([], [])
    history.close()


def test_a_home_without_history_has_none(tmp_path: Path) -> None:
    """Also one without a folder."""
    home = Home(tmp_path / "nowhere")

    assert (files.latest(home), files.last_index(home), list(HistoryFollower(home).news())) == ([], 0, [])


@pytest.mark.parametrize("step", [1, 7, 25])
def test_a_follower_sees_each_event_once(home: Home, step: int) -> None:
    """However many files were filled since it looked last, as long as they are there."""
    history, seen = History(home, size=SMALL), list[int]()
    with contextlib.closing(HistoryFollower(home)) as follower:
        for _ in range(0, 125, step):
            write(history, step)
            seen += [record.index for record in follower.news()]

    assert seen == list(range(1, history.index + 1))


def test_a_follower_begins_where_it_is_asked_to(home: Home) -> None:
    """In full files, in the open one, or before the first."""
    history = History(home, size=SMALL)
    write(history, 40)
    for after in (15, 39, 40):
        with contextlib.closing(HistoryFollower(home, after)) as follower:
            assert [record.index for record in follower.news()] == list(range(after + 1, 41))


def test_a_follower_goes_on_when_history_begins_again(home: Home) -> None:
    """All files were deleted while no controller ran, and so the index begins again."""
    write(History(home), 9)
    with contextlib.closing(HistoryFollower(home)) as follower:
        assert len(list(follower.news())) == 9
        files.current(home).unlink()
        write(History(home), 2)

        assert [record.index for record in follower.news()] == [1, 2]


def test_a_follower_waits_for_the_end_of_a_line(home: Home) -> None:
    """What is half-written is none yet."""
    write(History(home), 2)
    whole = files.current(home).read_bytes()
    files.current(home).write_bytes(whole[:-4])
    with contextlib.closing(HistoryFollower(home)) as follower:
        assert [record.index for record in follower.news()] == [1]
        with files.current(home).open("ab") as file:
            file.write(whole[-4:])

        assert [record.index for record in follower.news()] == [2]


async def test_the_controllers_own_process_follows_without_a_watch(home: Home) -> None:
    """From any index on, and each new event as it is written."""
    history, seen = History(home, size=SMALL), list[int]()
    write(history, 3)

    async with asyncio.timeout(PATIENCE):
        async with contextlib.aclosing(history.follow(1)) as follow:
            async for record in follow:
                seen.append(record.index)
                if record.index == history.index:
                    if record.index > 60:
                        break
                    write(history, 20)

    assert seen == list(range(2, 64))


def test_another_process_follows_by_a_watch(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command line does; what stops it comes out as it is."""
    monkeypatch.setattr(log, "use_stderr", lambda: None)  # this process has a log of its own
    history, seen = History(home, size=SMALL), list[int]()
    write(history, 3)

    def show(records: Sequence[HistoryRecord]) -> None:
        seen.extend(record.index for record in records)
        if seen[-1] >= 40:
            raise BrokenPipeError
        with subprocess.Popen([sys.executable, "-c", ""]):  # nothing of this process tells the watch
            write(history, 20)

    with pytest.raises(BrokenPipeError):
        history_follow.run(Settings(home=home, specs=home.root), 1, show)

    assert seen == list(range(2, seen[-1] + 1))
