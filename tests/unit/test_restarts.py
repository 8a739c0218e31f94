"""The back-off: arithmetic of restarts."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import restarts
from reconciler.core.observed import Exit, RestartRecord
from reconciler.core.plan import make_plan
from tests.unit.worlds import NOW, converged, exited, ledger, view

CRASH = Exit(run_id="run-1", code=1, at=NOW.boot, boot_id=NOW.boot_id, lived=3.0)


def crash_again(record: RestartRecord, number: int, lived: float = 3.0) -> RestartRecord:
    return restarts.account(record, replace(CRASH, run_id=f"run-{number}", lived=lived), "always", NOW)


def test_the_first_restart_is_at_once() -> None:
    """No wait after the first crash."""
    record = crash_again(RestartRecord(), 1)

    assert (record.count, record.streak) == (1, 1)
    assert restarts.wait_left(record, NOW) == 0


def test_each_further_restart_waits_about_twice_as_long_up_to_the_cap() -> None:
    """1, 2, 4 ... 60 seconds, each within a fifth."""
    record, waits = RestartRecord(), []
    for number in range(10):
        record = crash_again(record, number)
        waits.append(restarts.wait_left(record, NOW))

    expected = [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(0.8 * wanted <= wait <= 1.2 * wanted for wanted, wait in zip(expected, waits, strict=True))


def test_a_stable_life_ends_the_streak_but_not_the_count() -> None:
    """The count never goes down."""
    record = crash_again(crash_again(crash_again(RestartRecord(), 1), 2), 3, lived=restarts.STABLE)

    assert (record.count, record.streak) == (3, 1)


def test_the_same_exit_counts_once() -> None:
    """A controller that was killed and sees it again does not count again."""
    record = crash_again(RestartRecord(), 1)

    assert crash_again(record, 1) == record


def test_an_exit_we_asked_for_is_no_crash() -> None:
    """A stop is not counted, and waited for by nobody; what is started after it is told to be wanted."""
    ended = replace(CRASH, asked=True)
    record = restarts.account(RestartRecord(not_before=NOW.boot + 9), ended, "always", NOW)
    facts = converged(agent=replace(exited(), exit=ended))
    plan = make_plan(view(facts=facts, ledger=ledger(restarts={"agent": record})))

    assert record == RestartRecord()
    assert [action.cause for action in plan.actions] == ["running is wanted"]


def test_being_wedged_counts_once_however_many_tries_its_end_takes() -> None:
    """The end of that run, asked for or by itself, is the same restart."""
    record = restarts.wedged(restarts.wedged(RestartRecord(), "run-1", NOW), "run-1", NOW)
    seen = [restarts.account(record, replace(CRASH, asked=asked), "always", NOW) for asked in (True, False)]

    assert [(one.count, one.last_exit) for one in (record, *seen)] == [(1, "being wedged")] * 3
    assert restarts.wait_left(record, NOW) == 0
    assert restarts.wedged(record, "run-2", NOW).count == 2


def test_a_reboot_is_no_crash_and_voids_the_wait() -> None:
    """Boot times of another boot mean nothing."""
    waiting = RestartRecord(streak=5, not_before=NOW.boot + 50, boot_id=NOW.boot_id)
    later = replace(NOW, boot_id="next-boot", boot=3.0)

    assert restarts.wait_left(waiting, later) == 0
    assert restarts.account(RestartRecord(), CRASH, "always", later).count == 0


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_no_wait_is_longer_than_the_cap(not_before: float, now: float) -> None:
    """Whatever a record says."""
    record = RestartRecord(streak=3, not_before=not_before, boot_id=NOW.boot_id)

    assert 0 <= restarts.wait_left(record, replace(NOW, boot=now)) <= restarts.MEMORY_CAP * 1.2


def test_an_exit_that_the_policy_leaves_alone_is_recorded_and_not_counted() -> None:
    """Its cause is still shown."""
    record = restarts.account(RestartRecord(), CRASH, "never", NOW)

    assert (record.count, record.counted, record.last_exit) == (0, "run-1", "exit code 1")
    assert restarts.wait_left(record, NOW) == 0


def test_a_run_that_is_not_ready_in_time_or_wedged_counts_once() -> None:
    """However many passes try to end it."""
    slow = restarts.never_ready(RestartRecord(), "run-1", NOW, "it waits for npm")
    stuck = restarts.wedged(RestartRecord(), "run-1", NOW)

    assert (slow.count, slow.streak, slow.last_exit) == (1, 1, "not getting ready (it waits for npm)")
    assert (stuck.count, stuck.streak, stuck.last_exit) == (1, 0, "being wedged")
    assert restarts.never_ready(slow, "run-1", NOW) is slow
    assert restarts.wedged(stuck, "run-1", NOW) is stuck


def test_an_exit_without_code_or_signal_has_an_unknown_cause() -> None:
    """Or the cause that is known otherwise."""
    unknown = Exit(run_id="run-1")

    assert (unknown.text, replace(unknown, cause="out of memory").text) == ("an unknown cause", "out of memory")
