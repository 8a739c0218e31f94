"""What the real OpenCode waits for, as a person has to see it before they answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.agents.base import Consent, NotWaitingError, Reply
from reconciler.agents.opencode import plugins
from reconciler.agents.opencode.driver import DRIVER
from reconciler.core.observed import AgentQuestion, AnswerOption, PendingRequest, RequestKind
from reconciler.core.reasons import Reason
from reconciler.engines.local.health.checks import ProbeTarget
from tests.agents.contract import PatientWire
from tests.support.fakemodel import FakeModel, provider
from tests.support.live import PATIENCE, use
from tests.support.opencode import PASSWORD, OpenCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = {"bash": "ask", "edit": "ask", "webfetch": "ask", "question": "allow"}
PATCH = "@@ -1,3 +1,3 @@\n # A project\n \n-It greets people.\n+It meets people.\n"


@pytest.fixture(name="opencode")
def _opencode(opencode_program: Path, tmp_path: Path) -> Iterator[OpenCode]:
    with FakeModel() as model:
        config = provider(model.url) | {"permission": POLICY}
        with OpenCode(opencode_program, tmp_path, config) as opencode:
            yield opencode


class Asked:
    """Makes sessions of an OpenCode ask."""

    def __init__(self, opencode: OpenCode) -> None:
        self.opencode = opencode
        run = opencode.sandbox / "run"
        self.target = ProbeTarget(port=opencode.port, secret=PASSWORD, run_dir=run, driver=DRIVER).proved()

    def wire(self) -> PatientWire:
        return PatientWire(self.target)

    async def needs(self) -> tuple[PendingRequest, ...]:
        activity = DRIVER.activity(await self.wire().ask(DRIVER.ready_request))
        assert activity is not None
        return await DRIVER.needs(self.wire(), activity)

    def say(self, content: str) -> str:
        _, made = self.opencode.call("POST", "/session", {})
        parts = [{"type": "text", "text": content}]
        assert self.opencode.call("POST", f"/session/{made['id']}/prompt_async", {"parts": parts})[0] == 204
        return str(made["id"])

    async def by(self, content: str) -> PendingRequest:
        """The request that this leads to."""
        async with asyncio.timeout(PATIENCE), self.wire().stream(plugins.EVENTS, PATIENCE) as events:
            session = await asyncio.to_thread(self.say, content)
            while True:
                for need in await self.needs():
                    if need.session == session or not need.id:
                        return need
                await events.read(PATIENCE, 1)  # the next chunk, however long


@pytest.mark.long
async def test_each_request_says_all_that_a_person_must_see(opencode: OpenCode) -> None:
    """The exact command, the patch, the folders outside, the questions; the rest is what OpenCode matches by."""
    asked = Asked(opencode)
    command = await asked.by(use("bash", command="touch made", description="make"))
    edit = await asked.by(use("edit", filePath=str(opencode.repo / "README.md"), oldString="greets", newString="meets"))
    outside = await asked.by(use("read", filePath="/etc/hostname"))
    options: list[Any] = [{"label": "Blue", "description": "like the sea"}]
    questions = [{"question": "Which?", "header": "Colour", "options": options, "multiple": True}]
    question = await asked.by(use("question", questions=questions))

    assert (command.tool, command.command, command.patterns) == ("bash", "touch made", ("touch made",))
    assert command.always == ("touch *",)
    assert (edit.tool, edit.patterns, edit.patch.endswith(PATCH)) == ("edit", ("README.md",), True)
    assert (outside.tool, outside.directories, outside.always) == ("external_directory", ("/etc",), ("/etc/*",))
    assert question.questions == (
        AgentQuestion(
            text="Which?",
            header="Colour",
            options=(AnswerOption(label="Blue", description="like the sea"),),
            multiple=True,
        ),
    )
    assert [one.kind for one in (command, edit, outside, question)] == [RequestKind.PERMISSION] * 3 + [
        RequestKind.QUESTION
    ]
    assert {one.id for one in await asked.needs()} == {command.id, edit.id, outside.id, question.id}

    await DRIVER.answer(asked.wire(), command.id, Reply(consent=Consent.DENY, word="touch nothing"))
    await DRIVER.answer(asked.wire(), question.id, Reply(consent=Consent.DENY))
    answers = await asyncio.gather(
        *(DRIVER.answer(asked.wire(), edit.id, Reply(consent=Consent.ONCE)) for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(map(type, answers), key=str) == sorted([type(None), NotWaitingError], key=str)
    assert [one.id for one in await asked.needs()] == [outside.id]

    unlisted = await asked.by(use("webfetch", url="http://127.0.0.1:1/", format="text"))
    assert (unlisted.reason, unlisted.id) == (Reason.WAITING_FOR_PERMISSION, "")
    assert opencode.call("GET", "/permission")[0] == 400
