"""What counts as work of a service that is not ready yet."""

from __future__ import annotations

import pytest

from reconciler.engines.local.start_progress import Work


@pytest.mark.parametrize(
    ("now", "works"),
    [
        (Work(10.1, 100_100, 50), False),  # as one that waits for a registry (measured)
        (Work(10.3, 104_000, 50), False),
        (Work(10.0, 100_000, 51), True),
        (Work(11.0, 100_000, 50), True),
        (Work(10.0, 200_000, 50), True),
        (Work(9.0, 100_000, 50), True),
        (Work(10.0, 90_000, 50), True),
    ],
)
def test_processor_time_bytes_and_lines_of_its_log_are_work(now: Work, works: bool) -> None:
    """Over ten seconds; less than before means that a part of it ended."""
    assert now.since(Work(10.0, 100_000, 50), 10.0) is works
