"""Who watches the logs: one keeper for all of a folder, and the next one when it ends."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.keeper import log_cap, log_watch
from reconciler.engines.local.keeper.log_watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE = log_cap.LOG_LIMIT + 1


class Keeper:
    """As much of a keeper as concerns its log. All are in one process here, which real ones never are."""

    def __init__(self, path: Path) -> None:
        self.log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.folder = str(path.parent)
        self.watch: Watch | None = None
        self.hub = -1
        self.ended = False
        self.join()

    def join(self) -> None:
        found = log_watch.join(self.log, self.folder)
        if isinstance(found, int):
            self.hub = found
        else:
            self.watch = found

    def due(self) -> bool:
        """Deal with all that has happened; whether our own log is to be looked at."""
        poll = select.poll()
        for handle in [self.hub] if self.watch is None else self.watch.handles():
            poll.register(handle, select.POLLIN)
        ready = [handle for handle, _ in poll.poll(0)]
        if self.watch is not None:
            return self.watch.serve(ready)
        if ready and not os.read(self.hub, 1):
            os.close(self.hub)
            self.hub = -1
            self.join()
        return bool(ready)

    def grow(self) -> None:
        os.write(self.log, b"x")
        os.truncate(self.log, LARGE)

    def end(self) -> None:
        """Close everything."""
        self.ended = True
        if self.watch is not None:
            self.watch.close()
        if self.hub >= 0:
            os.close(self.hub)
        os.close(self.log)


@pytest.fixture(name="keeper")
def _keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Keeper]]:
    monkeypatch.setattr(log_watch, "PAUSE", 0.0)
    made: list[Keeper] = []

    def make(name: str) -> Keeper:
        made.append(Keeper(tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        if not each.ended:  # else its descriptors are others' by now
            each.end()


def serve(*keepers: Keeper) -> list[bool]:
    """Let each deal with what happened, as often as it may take; which of them are to look at their logs."""
    due = [False] * len(keepers)
    for _ in range(4):
        due = [before | keeper.due() for before, keeper in zip(due, keepers, strict=True)]
    return due


def test_the_first_watches_for_the_others(keeper: Callable[[str], Keeper]) -> None:
    """Each is told of its own log alone, and only when that is too large."""
    first, second, third = (keeper(name) for name in ("a.log", "b.log", "c.log"))
    assert serve(first, second, third) == [False, False, False]
    os.write(second.log, b"a line\n")
    assert serve(first, second, third) == [False, False, False]
    second.grow()
    assert serve(first, second, third) == [False, True, False]
    first.grow()

    assert serve(first, second, third) == [True, False, False]
    assert [each.watch is not None for each in (first, second, third)] == [True, False, False]


def test_the_next_watches_when_the_first_ends(keeper: Callable[[str], Keeper]) -> None:
    first, second, third = (keeper(name) for name in ("a.log", "b.log", "c.log"))
    serve(first, second, third)
    first.end()
    serve(second, third)
    third.grow()

    assert serve(second, third) == [False, True]
    assert (second.watch is not None, third.watch) == (True, None)


def test_one_that_watches_enough_leaves_the_rest_to_the_next(
    keeper: Callable[[str], Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_watch, "MEMBERS", 2)
    keepers = []
    for number in range(7):
        keepers.append(keeper(f"{number}.log"))
        serve(*keepers)
    for each in keepers:
        each.grow()

    assert all(serve(*keepers))
    assert [each.watch is not None for each in keepers] == [True, False, False, True, False, False, True]


def test_one_that_ends_is_forgotten(keeper: Callable[[str], Keeper]) -> None:
    """But not the next keeper of the same log."""
    first, second, again = keeper("a.log"), keeper("b.log"), keeper("b.log")
    serve(first, second, again)
    second.end()
    serve(first, again)
    again.grow()

    assert serve(first, again) == [False, True]
    assert first.watch is not None
    assert len(first.watch._members) == 1


def test_something_else_has_the_name(keeper: Callable[[str], Keeper], tmp_path: Path) -> None:
    """Each watches for itself then."""
    tmp_path.joinpath(log_watch.NAME).mkdir()
    first, second = keeper("a.log"), keeper("b.log")
    second.grow()

    assert serve(first, second) == [False, True]


def test_a_hub_that_was_killed_leaves_a_socket(keeper: Callable[[str], Keeper], tmp_path: Path) -> None:
    """The next keeper takes its place."""
    killed = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    killed.bind(str(tmp_path / log_watch.NAME))
    killed.close()
    first, second = keeper("a.log"), keeper("b.log")
    second.grow()

    assert serve(first, second) == [False, True]
    assert (first.hub, second.watch) == (-1, None)


def test_no_abstract_name_makes_anybody_the_hub(keeper: Callable[[str], Keeper], tmp_path: Path) -> None:
    """A confined agent could take one: it would be sent the logs of the others."""
    keeper("a.log")
    names = {line.rpartition("@")[2] for line in Path("/proc/net/unix").read_text().splitlines() if "@" in line}

    assert [name for name in names if name.endswith(str(tmp_path)[-48:])] == []


def test_one_that_watches_alone(keeper: Callable[[str], Keeper], tmp_path: Path) -> None:
    """As one does whose hubs end again and again: it is nobody's hub and has none."""
    first = keeper("a.log")
    alone = log_watch.join(first.log, str(tmp_path), alone=True)
    first.grow()

    assert isinstance(alone, Watch)
    assert alone._listener is None
    assert alone.serve(alone.handles())
    alone.close()


def test_what_is_no_file_is_not_watched() -> None:
    """Everybody writes to /dev/null."""
    handle = os.open(os.devnull, os.O_RDWR)
    watch = log_watch.join(handle, "/dev")
    os.close(handle)

    assert watch is None
