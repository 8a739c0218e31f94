"""What is remembered of an agent's earlier runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.core.observed import EndedRun, Exit, Phase
from reconciler.engines.local.ended_runs import KEPT, SLACK, TAKEN_UP, EndedRuns
from reconciler.engines.local.facts import LocalService

if TYPE_CHECKING:
    from pathlib import Path


def over(run_id: str = "r1", *, asked: bool = True, at: float | None = 40.0, stop: float | None = None) -> LocalService:
    gone = Exit(run_id=run_id, asked=asked, at_wall=at, stop_wall=stop)
    return LocalService(phase=Phase.EXITED, instance=run_id, started_wall=10.0, exit=gone)


def test_our_stop_began_when_we_noted_it(tmp_path: Path) -> None:
    """The keeper hears of it later: the agent is asked to end its work first. Until its end, there is none."""
    runs = EndedRuns(tmp_path)
    runs.stopping("r1", 30.0)
    assert runs.read() == ()
    runs.stopping("r1", 31.0)  # by another controller, as the one before was killed
    runs.add(over(stop=32.0), 50.0)

    assert EndedRuns(tmp_path).read() == (EndedRun(run_id="r1", started=10.0, stop=30.0, ended=40.0),)


def test_a_stop_that_was_given_up_is_not_the_next_one(tmp_path: Path) -> None:
    """What a person ended between them, that person ended."""
    runs = EndedRuns(tmp_path)
    runs.stopping("r1", 30.0)
    runs.stopping("r1", 30.0 + TAKEN_UP)
    runs.add(over(at=95.0), 100.0)

    assert [one.stop for one in runs.read()] == [30.0 + TAKEN_UP]


def test_a_stop_by_the_machine_is_known_from_the_keeper(tmp_path: Path) -> None:
    """Who hears of it as the agent does, or a moment later."""
    EndedRuns(tmp_path).add(over(stop=32.0), 50.0)

    assert [one.stop for one in EndedRuns(tmp_path).read()] == [32.0 - SLACK]


def test_a_run_that_ended_by_itself_was_not_stopped(tmp_path: Path) -> None:
    """Though somebody was about to. Where nobody saw its end, that was before the next one."""
    runs = EndedRuns(tmp_path)
    runs.stopping("r1", 30.0)
    runs.add(over(asked=False, at=None), 50.0)
    runs.add(over("r2", stop=None), 60.0)  # by a keeper of an older version

    assert [(one.stop, one.ended) for one in runs.read()] == [(None, 50.0), (None, 40.0)]


def test_each_run_is_noted_once_and_few_are_kept(tmp_path: Path) -> None:
    """The newest, in their order; what never ran is none."""
    runs = EndedRuns(tmp_path)
    for number in range(KEPT + 3):
        for at in (40.0, 41.0):
            runs.add(over(f"r{number}", at=at), 50.0)
    runs.add(LocalService(), 60.0)

    assert [one.run_id for one in runs.read()] == [f"r{number}" for number in range(3, KEPT + 3)]
    assert {one.ended for one in runs.read()} == {40.0}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"[1]", b'[{"run_id": "r"}]', b"\xff", b"[" * 9000, b"null"),
        b'[{"run_id": "r", "started": 1, "stop": Infinity, "ended": 2}]',
        b'[{"run_id": "r", "started": 1, "stop": null, "ended": NaN}]',
        b'[{"run_id": "r", "started": "1", "stop": null, "ended": 2}]',
    ],
)
def test_a_broken_file_says_nothing(tmp_path: Path, content: bytes) -> None:
    """And is replaced."""
    (tmp_path / "agent.ended").write_bytes(content)
    runs = EndedRuns(tmp_path)
    assert runs.read() == ()
    runs.add(over(), 50.0)

    assert [one.run_id for one in runs.read()] == ["r1"]
