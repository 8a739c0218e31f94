"""Decide when a service that exited is restarted: back-off and exit accounting. Pure.

The first restart is immediate; each further one within a streak waits twice as long as the one before, with jitter, up
to a cap. There is no give-up: at the cap a service is parked, which status shows, and still tried once per cap. Running
for `STABLE` seconds ends the streak. Kubelet's 10 s to 5 min is known to be too slow for interactive use
(kubernetes#57291), hence 1 s to 60 s.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from reconciler.core.observed import Exit, Now, RestartRecord

BASE: Final = 1.0
CAP: Final = 60.0
MEMORY_BASE: Final = 5.0
"""The same of what ran out of memory: it would take it again at once, so even the first restart waits."""
MEMORY_CAP: Final = 300.0
STABLE: Final = 300.0
PARKED_STREAK: Final = 7
"""Restarts in a row after which the delay has reached the cap."""


def delay(streak: int, salt: str, *, out_of_memory: bool = False) -> float:
    """Return the seconds to wait before restart number `streak` (0 is the first) of a streak."""
    if out_of_memory:
        return min(MEMORY_CAP, MEMORY_BASE * 2.0 ** min(streak, 16)) * jitter(salt)
    if streak == 0:
        return 0.0
    return min(CAP, BASE * 2.0 ** min(streak - 1, 16)) * jitter(salt)


def jitter(salt: str) -> float:
    """Return a factor from 0.8 to 1.2, the same for the same salt: pure code has no random source."""
    return 0.8 + 0.4 * hashlib.sha256(salt.encode()).digest()[0] / 255


def wants_restart(policy: str, ended: Exit) -> bool:
    """Tell whether the policy restarts a service after this exit."""
    if ended.asked or policy == "always":
        return True
    return policy == "on-failure" and ended.failed


def account(record: RestartRecord, ended: Exit | None, policy: str, now: Now) -> RestartRecord:
    """Return the record after this exit. Counting the same exit again changes nothing."""
    if ended is None or ended.run_id == record.counted:
        return record
    if ended.asked:
        return replace(record, not_before=0.0)
    if ended.boot_id != now.boot_id:
        return replace(record, counted=ended.run_id, not_before=0.0)
    seen = replace(
        record,
        counted=ended.run_id,
        last_exit=ended.text,
        last_exit_wall=now.wall - max(0.0, now.boot - (ended.at or now.boot)),
    )
    if not wants_restart(policy, ended):
        return seen
    streak = 0 if ended.lived >= STABLE else record.streak
    return replace(
        seen,
        count=record.count + 1,
        streak=streak + 1,
        not_before=(ended.at or now.boot) + delay(streak, ended.run_id, out_of_memory=ended.out_of_memory),
        boot_id=now.boot_id,
    )


def wedged(record: RestartRecord, run_id: str, now: Now) -> RestartRecord:
    """Return the record of a service that is ended because this run is unresponsive and idle; counts a run once.

    Adds no delay: the service was silent for longer than most delays already.
    """
    if record.counted == run_id:
        return record
    return replace(record, count=record.count + 1, counted=run_id, last_exit="being wedged", last_exit_wall=now.wall)


def never_ready(record: RestartRecord, run_id: str, now: Now, cause: str = "") -> RestartRecord:
    """Return the record of a service that was ended because this run was not ready in time: that counts as a crash.

    Args:
        record: of the service.
        run_id: the run.
        now: the clock.
        cause: why, and what helps, where that is known.
    """
    if record.counted == run_id:
        return record
    return replace(
        record,
        count=record.count + 1,
        streak=record.streak + 1,
        counted=run_id,
        not_before=now.boot + delay(record.streak, run_id),
        boot_id=now.boot_id,
        last_exit=f"not getting ready ({cause})" if cause else "not getting ready",
        last_exit_wall=now.wall,
    )


def waive(record: RestartRecord) -> RestartRecord:
    """Return the record once a stop was requested: a later start is not delayed."""
    return replace(record, waived=record.counted) if record.waived != record.counted else record


def wait_left(record: RestartRecord, now: Now) -> float:
    """Return the seconds until the service may be started again; 0 when it may now."""
    if record.boot_id != now.boot_id:
        return 0.0
    # A record can never ask for more than the longest delay there is, whatever happened to the file it came from.
    return min(max(0.0, record.not_before - now.boot), MEMORY_CAP * 1.2)
