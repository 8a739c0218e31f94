"""How long a spec file was quiet before it was first seen. A real file, times handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.settings import Home, Settings
from reconciler.specs.spec_folder import SpecFolder

if TYPE_CHECKING:
    from pathlib import Path

SETTLE = 0.125
NOW = 1000.0


@pytest.mark.parametrize(
    ("quiet", "left"),
    [(0.1, 0.025), (1.1 * SETTLE, None), (0.0, SETTLE), (-1.0, SETTLE), (3 * SETTLE, SETTLE)],
)
def test_the_time_that_a_file_was_quiet_before_it_was_seen_counts(
    tmp_path: Path, quiet: float, left: float | None
) -> None:
    """A watch reports a change late. Times that no watch takes are another machine's clock, or one that was set."""
    path = tmp_path / "blog.yaml"
    path.write_text("git: {url: here}\n")
    wall = path.stat().st_ctime_ns / 1e9 + quiet
    settings = Settings(home=Home(tmp_path / "home"), specs=tmp_path, settle=SETTLE)

    look = SpecFolder(settings, wall_clock=lambda: wall).look(NOW)

    assert (look.again is None) is (left is None) is bool(look.changes)
    assert left is None or look.again == pytest.approx(NOW + left)
