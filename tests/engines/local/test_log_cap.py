"""Cutting a log that somebody appends to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.keeper import log_cap

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="limit", autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_cap, "LOG_LIMIT", 20_000)


@pytest.fixture(name="collapses", params=[True, False], ids=["blocks-removed", "emptied"])
def _collapses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bool:
    """On both kinds of file systems; the one that cannot remove blocks is fake."""
    if not request.param:
        monkeypatch.setattr(log_cap, "_can_collapse", lambda _log: False)
        return False
    with (tmp_path / "probe").open("w+") as probe:
        return log_cap._can_collapse(probe.fileno())


def whole(path: Path) -> bytes:
    """The old logs and the log."""
    names = [path.with_name(f"{path.name}.{number}") for number in (3, 2, 1)]
    return b"".join(each.read_bytes() for each in (*names, path) if each.exists())


def test_the_end_moves_aside_and_the_writer_goes_on(tmp_path: Path, *, collapses: bool) -> None:
    path, said = tmp_path / "a.log", b"".join(b"line %05d\n" % number for number in range(9000))
    with path.open("ab+", buffering=0) as log:
        log.write(said)
        removed = log_cap.cap(str(path), log.fileno())
        log.write(b"the last line\n")
    kept = whole(path)

    assert (said + b"the last line\n").endswith(kept)
    assert len(kept) > log_cap.LOG_LIMIT // 2
    assert path.stat().st_size == len(said) - removed + len(b"the last line\n")
    assert path.stat().st_size < 8192 if collapses else path.read_bytes() == b"the last line\n"
    assert path.with_name("a.log.1").stat().st_size <= log_cap.LOG_LIMIT


@pytest.mark.usefixtures("collapses")
def test_only_a_few_old_logs_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("ab+", buffering=0) as log:
        for _ in range(6):
            log.write(b"x" * 50_000)
            log_cap.cap(str(path), log.fileno())

    assert sorted(each.name for each in tmp_path.glob("a.log*")) == ["a.log", "a.log.1", "a.log.2", "a.log.3"]
    assert all(each.stat().st_size <= log_cap.LOG_LIMIT for each in tmp_path.glob("a.log*"))


@pytest.mark.usefixtures("collapses")
def test_a_log_that_cannot_be_copied_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    (tmp_path / "a.log.1").mkdir()
    (tmp_path / "a.log.1" / "file").touch()
    (tmp_path / "a.log.2").touch()
    with path.open("ab+", buffering=0) as log:
        log.write(b"x" * 50_000)
        log_cap.cap(str(path), log.fileno())

    assert path.stat().st_size <= log_cap.LOG_LIMIT


def test_a_log_that_cannot_be_cut_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 50_000)
    log = os.open(path, os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        log_cap.cap(str(path), log)
    os.close(log)
