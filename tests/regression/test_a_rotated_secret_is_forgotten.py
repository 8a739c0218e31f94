"""A secret that was rotated or destroyed is nowhere in the controller's memory."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from reconciler.core import spec as specs
from reconciler.core.observed import Ledger
from reconciler.engines.base import Events
from reconciler.engines.local.engine import LocalEngine
from reconciler.engines.local.secrets import env_file
from reconciler.frontends.mcp import router
from reconciler.settings import Home
from tests.e2e.test_router_resolve import Shelf
from tests.support.fakecontroller import make_settings
from tests.support.memory import holders

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(path: Path) -> str:
    """Write a `.env` with a new password; return that backwards, for what a test holds is in memory too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    password = secrets.token_hex(16)
    path.touch(mode=0o600)
    path.write_text(f"OPENCODE_SERVER_PASSWORD={password}\nMCP_TOOL_BEARER_TOKEN={secrets.token_hex(16)}\n")
    return password[::-1]


async def test_after_rotating_and_one_pass_the_old_password_is_not_in_memory(tmp_path: Path) -> None:
    """The new one is there, which shows that the search finds what there is."""
    settings = make_settings(tmp_path)
    spec, ledger = specs.parse({"git": {"url": "/srv/x"}}), Ledger(uid="1", ports={"agent": 4101, "bridge": 5101})
    engine, path = LocalEngine(settings, None, Events(), dry=True), settings.home.sandbox("app").env_file  # type: ignore[arg-type]
    old = write(path)
    await engine.observe("app", spec, ledger)
    new = write(path)
    await engine.observe("app", spec, ledger)

    assert (holders(old), bool(holders(new))) == ([], True)

    path.unlink()
    await engine.observe("app", spec, ledger)
    assert holders(new) == []


async def test_the_endpoint_for_all_projects_forgets_a_password_that_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients hold it, and are kept for a while only."""
    monkeypatch.setattr(router, "KEPT", 0.0, raising=False)
    shelf, ended = Shelf(Home(tmp_path / "home")), asyncio.Event()
    shelf.publish("app", shelf.listen("app"))
    old = write(shelf.home.sandbox("app").env_file)
    async with shelf.router.open(None), asyncio.timeout(30):
        await shelf.router.resolve("app")
        asyncio.get_running_loop().call_later(0.01, ended.set)  # later than what forgets
        await ended.wait()
        env_file.forget(shelf.home.sandbox("app").env_file)  # what is in force is known, as to any observation
        assert holders(old) == []
    shelf.close()
