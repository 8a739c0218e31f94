"""What `open` and `attach` say of agents that cannot be visited, and what an idle controller has loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from reconciler.core import kinds
from reconciler.frontends.cli.commands import attach
from reconciler.frontends.cli.commands import open as opening
from reconciler.settings import UserError
from tests.support import echo_agent
from tests.support.webstage import NAME, Stage, a_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from reconciler.settings import Settings

    Command = Callable[[Settings, Namespace], int]


@pytest.fixture(name="stage")
async def _stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with a_stage(tmp_path) as stage:
        yield stage


def options(**given: object) -> Namespace:
    return Namespace(**({"name": NAME, "session": None, "print": True, "revoke": False, "latest": False} | given))


@pytest.mark.parametrize(
    ("command", "said"), [(opening.run, "no web page of their own"), (attach.run, "no terminal program of their own")]
)
async def test_a_kind_that_offers_nothing_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, command: Command, said: str
) -> None:
    """The echo agent has neither."""
    monkeypatch.setitem(kinds.DRIVERS, "echo", kinds.Kind(echo_agent.__name__))
    stage.publish(kind="echo")

    with pytest.raises(UserError, match=f"^cannot .* {NAME}: agents of kind echo have {said}$"):
        command(stage.settings, options())


@pytest.mark.parametrize(("command", "verb"), [(opening.run, "open"), (attach.run, "attach to")])
async def test_what_cannot_be_visited_is_explained(stage: Stage, command: Command, verb: str) -> None:
    """A name nearby, a session that is none, an agent that is stopped or starting."""
    with pytest.raises(UserError, match=f"cannot {verb} demos: there is no such project; did you mean demo"):
        command(stage.settings, options(name="demos"))
    with pytest.raises(UserError, match=f"cannot {verb} session '../x' of demo: the id of a session looks like ses_"):
        command(stage.settings, options(session="../x"))
    stage.publish(desired="stopped")
    with pytest.raises(UserError, match=r"its spec says stopped; start it with: opencode-manager start demo"):
        command(stage.settings, options())
    stage.publish(agent={"state": "starting", "port": None}, message="it does not answer yet")
    with pytest.raises(UserError, match=r"its agent is starting \(Ready: it does not answer yet\)$"):
        command(stage.settings, options())


async def test_without_a_controller_nothing_is_opened(stage: Stage) -> None:
    """No code is made that nobody can use."""
    with pytest.raises(UserError, match="cannot open demo: no controller is running, which serves its page"):
        opening.run(stage.settings, options())

    assert not (stage.settings.home.controller / "web").exists()


async def test_a_program_that_is_gone_cannot_be_attached(stage: Stage) -> None:
    """The agent runs from a file that is not there any more, or is called otherwise."""
    with pytest.raises(UserError, match="cannot attach to demo: the program that its agent runs is not there any more"):
        attach.run(stage.settings, options())


def test_an_idle_controller_has_not_loaded_the_proxy() -> None:
    """Nor what it needs: a fresh interpreter with the controller's server says what it has."""
    code = "import json, sys, reconciler.app, reconciler.frontends.mcp.server; print(json.dumps(list(sys.modules)))"
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))

    assert "reconciler.frontends.web.entrance" in loaded
    assert not loaded & {"httpx2", "httpcore2", "websockets", "reconciler.frontends.web.proxy.app"}
