"""What an agent's answers mean: told to people without what the answers quote."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from reconciler.agents.opencode.driver import DRIVER
from reconciler.agents.opencode.kind import OPENCODE
from reconciler.core.observed import Health, Now, Probe
from reconciler.engines.local.health import checks
from reconciler.engines.local.health.checks import ProbeTarget
from reconciler.engines.local.health.http1 import Answer, Call, CallError
from reconciler.engines.local.processes.listener import Listener

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (
            {
                "name": "ConfigJsonError",
                "data": {"path": "/repo/opencode.json", "message": "bad\n--- JSONC Input ---\n{k: HUSH}\nat line 3"},
            },
            "cannot load the agent's configuration /repo/opencode.json, line 3 (ConfigJsonError): fix it",
        ),
        (
            {
                "name": "ConfigInvalidError",
                "data": {"path": "/repo/opencode.json", "issues": [{"message": "got HUSH", "path": ["model", 0]}]},
            },
            "cannot load the agent's configuration /repo/opencode.json, at model.0 (ConfigInvalidError): fix it",
        ),
        ({"name": "ConfigInvalidError", "data": {"issues": 7}}, "cannot load the agent's configuration (ConfigInvalid"),
        ({"name": "ConfigFrontmatterError", "data": None}, "cannot load the agent's configuration (Config"),
    ],
)
def test_a_broken_configuration_is_reported_by_its_place(body: object, where: str) -> None:
    """And never by its text, in which keys may stand."""
    text = DRIVER.broken_config(Answer(400, json.dumps(body).encode()))

    assert text.startswith(where)
    assert "HUSH" not in text


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, b'{"name": "BadRequest", "data": {}}'),
        Answer(400, b"no JSON"),
        Answer(400, b"[1]"),
        Answer(500, b'{"name": "ConfigInvalidError"}'),
        Answer(200, b"{}"),
    ],
)
def test_any_other_answer_says_nothing_of_a_configuration(answer: Answer) -> None:
    """However odd."""
    assert DRIVER.broken_config(answer) == ""


class Slow:
    """An agent that says what it works at and then answers nothing, on a clock of its own (both are fakes)."""

    def __init__(self) -> None:
        self.clock = 1000.0
        self.asked: list[str] = []

    async def ask(self, call: Call, limit: float) -> Answer:
        self.asked.append(call.path)
        if self.asked == [OPENCODE.ready_path]:
            return Answer(200, b'{"ses_1": {"type": "busy"}}')
        self.clock += limit
        raise CallError("no answer in time")


async def test_one_probe_has_one_deadline_for_all_its_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is asked in it: fifty probes are under way at most, and each holds a place until it ends."""
    slow, now = Slow(), Now(boot=1.0, boot_id="boot", wall=1.0)
    monkeypatch.setattr(time, "monotonic", lambda: slow.clock)
    monkeypatch.setattr(checks, "ask", slow.ask)
    target = ProbeTarget(port=1, secret="a-password", run_dir=tmp_path, driver=DRIVER, proof=Listener("a-run", 1, {}))

    probe = await checks.live(target, Probe(health=Health.READY, interrupted=("ses_1",)), now, written=7)

    assert slow.clock == 1000.0 + 2 * checks.LIVENESS
    assert (probe.health, probe.misses, probe.written) == (Health.READY, 0, 0)
    assert len(slow.asked) == 3
