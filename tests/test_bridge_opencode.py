"""OpenCode itself as an MCP client of the bridge: one agent can be handed to another."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.bridge import TOKEN
from tests.support.live import _bridge, _calm, _model, _opencode  # noqa: F401  fixtures

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.bridge import Bridge

pytestmark = pytest.mark.xdist_group("opencode")


def test_opencode_connects_to_the_bridge(bridge: Bridge, opencode_program: Path, tmp_path: Path) -> None:
    """Its own list says "connected"."""
    server = {
        "type": "remote",
        "url": f"{bridge.url}/mcp",
        "oauth": False,
        "headers": {"Authorization": "Bearer {env:BRIDGE_TOKEN}"},
    }
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BRIDGE_TOKEN": TOKEN,
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "npm_config_offline": "true",
        "OPENCODE_CONFIG_CONTENT": json.dumps({"autoupdate": False, "mcp": {"bridge": server}}),
    }

    listed = subprocess.run(
        [opencode_program, "mcp", "list"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    # Not "disconnected", and colours may stand between the two words.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", listed.stdout)
    assert re.search(r"\bbridge\W+connected\b", plain), listed.stdout + listed.stderr
