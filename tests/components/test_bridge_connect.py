"""The way to an agent as its tools get it, from what an engine says of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.agents.opencode.access import ACCESS
from reconciler.bridge.connect import connection
from reconciler.engines.connection import Connection
from reconciler.engines.local.proved_transport import ProvedTransport

if TYPE_CHECKING:
    from pathlib import Path

WAY = Connection(url="http://127.0.0.1:4101", secret="agents-secret", hidden=("agents-secret", "bridges-token"))


async def test_on_this_machine_every_connection_is_proved(tmp_path: Path) -> None:
    """Elsewhere the network does that; no secret is shown, and none may be repeated, nor what is sent for it."""
    local = connection("app", ACCESS, replace(WAY, repo=tmp_path, proof=tmp_path), asyncio.Event())
    remote = connection("app", ACCESS, replace(WAY, repo=tmp_path), asyncio.Event())

    assert isinstance(local.transport, ProvedTransport)
    assert not isinstance(remote.transport, ProvedTransport)
    assert local.secrets == remote.secrets
    assert {"agents-secret", "bridges-token"} < set(local.secrets)
    assert not any(secret in repr(local) for secret in local.secrets)


def test_tools_need_a_clone_to_work_on(tmp_path: Path) -> None:
    """An engine that has none here says so by leaving it out."""
    with pytest.raises(ValueError, match=r"^cannot give tools an agent whose clone is not on this machine$"):
        connection("app", ACCESS, replace(WAY, proof=tmp_path), asyncio.Event())
