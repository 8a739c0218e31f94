"""A program on the agent's port whose answers have another shape than OpenCode's: one sentence, no traceback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from reconciler.agents.opencode.api import OddAnswer, OpenCode
from reconciler.engines.local.proved_transport import ProvedTransport
from tests.engines.local.test_http1 import saying
from tests.support.runs import record_leader

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/session", {}),
        ("/session", [{"title": "no id"}]),
        ("/session/status", []),
        ("/session/status", {"ses_1": "busy"}),
        ("/permission", [1]),
        ("/find/file", {"a": 1}),
        ("/config", []),
        ("/session/ses_1/message", None),
    ],
)
async def test_an_answer_of_another_shape_is_named(tmp_path: Path, path: str, answer: object) -> None:
    body = json.dumps(answer).encode()
    record_leader(tmp_path)
    async with saying(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)) as (port, _):
        api = OpenCode(
            f"http://127.0.0.1:{port}", {"authorization": "Basic eDp5"}, ProvedTransport(tmp_path, "agent", port)
        )
        with pytest.raises(OddAnswer, match=f"cannot understand the answer to GET {path}: it is no "):
            await api.get(path)
        await api.close()


async def test_a_session_that_has_no_id_was_not_made(tmp_path: Path) -> None:
    record_leader(tmp_path)
    async with saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}") as (port, _):
        api = OpenCode(
            f"http://127.0.0.1:{port}", {"authorization": "Basic eDp5"}, ProvedTransport(tmp_path, "agent", port)
        )
        with pytest.raises(OddAnswer, match="POST /session: it is no session"):
            await api.post("/session")
        await api.close()
