"""The real OpenCode passes the contract."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from reconciler.agents.base import Consent, Reply
from reconciler.core.observed import RequestKind
from tests.agents.contract import PROBED, Asking, DriverContract
from tests.support.fakemodel import FakeModel, provider
from tests.support.live import PERMISSIONS, saying, use
from tests.support.local_project import LocalProject, a_project
from tests.support.world import make_repository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from mcp import Client


class TestOpenCode(DriverContract):
    kind = "opencode"
    asking = (
        Asking(
            content=use("bash", command="touch asked-yes", description="make"),
            kind=RequestKind.PERMISSION,
            reply=Reply(consent=Consent.ONCE),
            wrong=Reply(answers=(("yes",),)),
        ),
        Asking(
            content=use("question", questions=[{"question": "Which?", "header": "h", "options": []}]),
            kind=RequestKind.QUESTION,
            reply=Reply(answers=(("Blue",),)),
            wrong=Reply(answers=(("Blue",), ("Red",))),
        ),
    )
    model: FakeModel

    @pytest.fixture(name="running")
    def _running(
        self, tmp_path: Path, ports: tuple[range, range], opencode_program: Path
    ) -> AbstractAsyncContextManager[LocalProject]:
        return self._project(tmp_path, ports, opencode_program)

    @contextlib.asynccontextmanager
    async def _project(self, folder: Path, ports: tuple[range, range], program: Path) -> AsyncIterator[LocalProject]:
        environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(folder), **PROBED}
        with FakeModel() as self.model:
            environment["OPENCODE_CONFIG_CONTENT"] = json.dumps(provider(self.model.url) | {"permission": PERMISSIONS})
            async with a_project(folder, ports, make_repository(folder / "origin"), environment) as project:
                yield project

    @contextlib.asynccontextmanager
    async def at_work(self, client: Client, session_id: str) -> AsyncIterator[None]:
        async with saying(client, session_id, "[[hold]] a word", self.model):
            yield
            self.model.release()
