"""Bubblewrap for tests: found, or the test is skipped with the reason.

Belongs here: whether it can be used here. Does not belong here: what it is used for.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import pytest

from reconciler.engines.local.confinement import bubblewrap

if TYPE_CHECKING:
    from reconciler.engines.local.confinement.bubblewrap import Check


@cache
def _found() -> Check:
    with ThreadPoolExecutor(1) as thread:  # a test may be within an event loop
        return thread.submit(asyncio.run, bubblewrap.check(os.environ)).result()


def bubblewrap_or_skip() -> Check:
    """The programs; the test is skipped, with the reason, where it does not work."""
    found = _found()
    if found.why_not:
        pytest.skip(f"NOT TESTED, nothing is confined here: {found.why_not}")
    return found
