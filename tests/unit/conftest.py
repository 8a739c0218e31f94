"""What unit tests have in common: nothing is printed by the way."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import LogCapture


@pytest.fixture(autouse=True, scope="session")
def _log() -> None:
    """Keep the log to itself: to format a traceback for a terminal takes longer than most tests."""
    structlog.configure(processors=[LogCapture()])
